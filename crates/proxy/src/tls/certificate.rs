//! What our own certificates say of themselves: from when and until when they are valid.

use std::time::Duration;

use rustls::pki_types::{CertificateDer, UnixTime};
use webpki::{ALL_VERIFICATION_ALGS, EndEntityCert, Error, KeyUsage};

/// Seconds since the Unix epoch at the end of the year 9999, after which no certificate is valid.
const AFTER_ALL: u64 = 253_402_300_799;

/// From when and until when a certificate is valid, in seconds since the Unix epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// From then on.
    pub not_before: u64,
    /// Until then.
    pub not_after: u64,
}

/// Reads when `certificate` is valid.
///
/// # Errors
/// If it is no X.509 certificate of version 3.
pub fn validity(certificate: &CertificateDer<'_>) -> Result<Validity, String> {
    let parsed = EndEntityCert::try_from(certificate).map_err(|error| format!("{error}"))?;
    // A verifier says both bounds, if it is asked at times at which no certificate is valid.
    let not_before = match refusal_at(&parsed, 0) {
        Some(Error::CertNotValidYet { not_before, .. }) => not_before.as_secs(),
        _ => 0,
    };
    let not_after = match refusal_at(&parsed, AFTER_ALL) {
        Some(Error::CertExpired { not_after, .. }) => not_after.as_secs(),
        Some(Error::InvalidCertValidity) => return Err("it ends before it begins".to_owned()),
        _ => AFTER_ALL,
    };
    Ok(Validity { not_before, not_after })
}

/// Why a verifier that trusts nobody refuses the certificate at `seconds`: its times are looked at before its issuer.
fn refusal_at(certificate: &EndEntityCert<'_>, seconds: u64) -> Option<Error> {
    let time = UnixTime::since_unix_epoch(Duration::from_secs(seconds));
    let usage = KeyUsage::server_auth();
    certificate.verify_for_usage(ALL_VERIFICATION_ALGS, &[], &[], time, usage, None, None).err()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_times_of_a_certificate_are_its_own_whoever_signed_it() {
        let key = rcgen::KeyPair::generate().unwrap();
        for authority in [false, true] {
            let mut params = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap();
            params.not_before = rcgen::date_time_ymd(2020, 1, 2);
            params.not_after = rcgen::date_time_ymd(2031, 3, 4);
            if authority {
                params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
            }
            let certificate = params.self_signed(&key).unwrap();
            let expected = Validity { not_before: 1_577_923_200, not_after: 1_930_348_800 };
            assert_eq!(validity(certificate.der()), Ok(expected));
        }
        assert!(validity(&CertificateDer::from(vec![1, 2, 3])).is_err());
    }
}
