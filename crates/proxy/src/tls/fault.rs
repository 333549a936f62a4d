//! Why a connection by TLS came to nothing.

use rustls::{AlertDescription, CertificateError, Error};

/// What went wrong, and in which words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{words}")]
pub struct Fault {
    /// The sort, for counters.
    pub reason: Reason,
    /// A phrase that follows the name of the other side.
    pub words: String,
}

/// The sort of a [`Fault`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// What came is no TLS.
    NotTls,
    /// The other side closed in the middle of the handshake.
    Closed,
    /// The handshake took too long.
    TimedOut,
    /// Too many handshakes were under way, and this was the oldest.
    Crowded,
    /// The other side showed no certificate.
    NoCertificate,
    /// The other side's certificate is not accepted.
    BadCertificate,
    /// The other side does not accept us: it said so by an alert.
    Refused,
    /// The two have no version or cipher suite in common.
    Incompatible,
    /// The protocol was broken.
    Protocol,
}

impl Reason {
    /// All of them, each at the place of its number (`reason as usize`).
    pub const ALL: [Reason; 9] = [
        Reason::NotTls,
        Reason::Closed,
        Reason::TimedOut,
        Reason::Crowded,
        Reason::NoCertificate,
        Reason::BadCertificate,
        Reason::Refused,
        Reason::Incompatible,
        Reason::Protocol,
    ];

    /// Its name on the admin port.
    pub const fn name(self) -> &'static str {
        match self {
            Reason::NotTls => "not_tls",
            Reason::Closed => "closed",
            Reason::TimedOut => "timed_out",
            Reason::Crowded => "crowded",
            Reason::NoCertificate => "no_certificate",
            Reason::BadCertificate => "bad_certificate",
            Reason::Refused => "refused",
            Reason::Incompatible => "incompatible",
            Reason::Protocol => "protocol",
        }
    }
}

impl Fault {
    /// A fault that rustls did not find.
    pub fn of(reason: Reason) -> Fault {
        let words = match reason {
            Reason::NotTls => "does not speak TLS",
            Reason::Closed => "closed the connection in the middle of the TLS handshake",
            Reason::TimedOut => "did not finish the TLS handshake in time",
            Reason::Crowded => "was the oldest of too many that had not finished the TLS handshake",
            Reason::NoCertificate => "shows no certificate",
            Reason::BadCertificate => "has a certificate that is not accepted",
            Reason::Refused => "does not accept this proxy",
            Reason::Incompatible => "has no version or cipher suite of TLS in common with this proxy",
            Reason::Protocol => "breaks the TLS protocol",
        };
        Fault { reason, words: words.to_owned() }
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Fault {
        let reason = match &error {
            Error::NoCertificatesPresented => return Fault::of(Reason::NoCertificate),
            Error::InvalidCertificate(why) => {
                let words = format!("has a certificate that is not accepted: {}", certificate_words(why));
                return Fault { reason: Reason::BadCertificate, words };
            }
            Error::AlertReceived(alert) => {
                let words = format!("does not accept this proxy: {}", alert_words(*alert));
                return Fault { reason: Reason::Refused, words };
            }
            Error::PeerIncompatible(_) => Reason::Incompatible,
            _ => Reason::Protocol,
        };
        let fault = Fault::of(reason);
        Fault { words: format!("{}: {error}", fault.words), ..fault }
    }
}

/// What is wrong with a certificate, as short as it can be said.
pub fn certificate_words(error: &CertificateError) -> String {
    match error {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => "it has expired".to_owned(),
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "it is not valid yet".to_owned()
        }
        CertificateError::UnknownIssuer => {
            "no certificate authority that is trusted here signed it".to_owned()
        }
        CertificateError::BadEncoding => "it cannot be read".to_owned(),
        CertificateError::Revoked => "it was revoked".to_owned(),
        CertificateError::BadSignature => "its signature is not by who is said to have signed it".to_owned(),
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "it was issued for another purpose (extended key usage)".to_owned()
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            // rustls says which name was asked for and which there are.
            error.to_string()
        }
        CertificateError::Other(other) if other.to_string().contains("CaUsedAsEndEntity") => {
            "it is a certificate authority's, which may not be a server's as well (basicConstraints CA:TRUE)"
                .to_owned()
        }
        other => other.to_string(),
    }
}

fn alert_words(alert: AlertDescription) -> String {
    match alert {
        AlertDescription::CertificateRequired => "it asks for a certificate".to_owned(),
        AlertDescription::UnknownCA => "it does not trust who signed our certificate".to_owned(),
        AlertDescription::CertificateExpired => "it says that our certificate has expired".to_owned(),
        AlertDescription::BadCertificate | AlertDescription::CertificateUnknown => {
            "it does not accept our certificate".to_owned()
        }
        other => format!("it says {other:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_stand_at_their_numbers_and_have_names_of_their_own() {
        for (number, reason) in Reason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, number);
            assert_eq!(Reason::ALL.iter().filter(|other| other.name() == reason.name()).count(), 1);
        }
    }
}
