//! Why a runtime did not do what it was asked.

use std::net::SocketAddr;

use thiserror::Error;

/// Why a runtime did not do what it was asked, in a sentence that says what to do where something can be done.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Refused {
    /// The node is down.
    #[error("node {node} is down: {why}")]
    NodeDown {
        /// The node's name.
        node: String,
        /// Why, in a sentence.
        why: String,
    },
    /// Another instance has the name; stop that one first.
    #[error(
        "the name {name} still belongs to an earlier instance (uid {uid}); it has to be stopped, its data removed, first"
    )]
    NameTaken {
        /// The name.
        name: String,
        /// The uid that has it.
        uid: String,
    },
    /// Nothing of that name and uid is there.
    #[error("no instance {name} with uid {uid} is there")]
    Gone {
        /// The name.
        name: String,
        /// The uid.
        uid: String,
    },
    /// It does not run.
    #[error("{name} does not run: {why}")]
    NotRunning {
        /// The name.
        name: String,
        /// Its phase, in words.
        why: String,
    },
    /// It was restarted since it was looked at.
    #[error(
        "{name} was restarted since it was looked at; what was meant for the life before is not done to this one"
    )]
    OtherLife {
        /// The name.
        name: String,
    },
    /// It said no.
    #[error("{name} refused {command}: {said}")]
    Answered {
        /// The name.
        name: String,
        /// The command, without secrets.
        command: String,
        /// The error, in its own words.
        said: String,
    },
    /// The program is not installed.
    #[error("{program} is not there: {advice}")]
    NoProgram {
        /// Which.
        program: String,
        /// What to do.
        advice: String,
    },
    /// The port is somebody else's.
    #[error("port {address} is taken by {by}; end that, or choose another port for {name}")]
    PortTaken {
        /// The name of the instance.
        name: String,
        /// The port.
        address: SocketAddr,
        /// Who has it, as far as can be seen.
        by: String,
    },
    /// The credential cannot be read or made.
    #[error("credential {credential}: {why}")]
    Credential {
        /// Its name.
        credential: String,
        /// What is wrong and what to do.
        why: String,
    },
    /// What was asked for makes no sense.
    #[error("{name}: {field}: {why}")]
    Invalid {
        /// The instance.
        name: String,
        /// Which part of what was asked.
        field: String,
        /// What is wrong and what would be right.
        why: String,
    },
    /// The machine said no: a full disk, a missing right.
    #[error("{doing}: {why}")]
    Machine {
        /// What was being done.
        doing: String,
        /// What the machine said, and what to do.
        why: String,
    },
    /// Whether it happened is not known; look, then decide.
    #[error("{doing}: whether that happened is not known: {why}")]
    Unknown {
        /// What was being done.
        doing: String,
        /// Why it is not known.
        why: String,
    },
}

impl Refused {
    /// Whether what was asked for may have happened, or may yet.
    #[must_use]
    pub const fn may_have_happened(&self) -> bool {
        matches!(self, Refused::Unknown { .. })
    }
}
