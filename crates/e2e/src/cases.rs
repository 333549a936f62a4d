//! The cases in `testdata/nutcracker`: what they say, and reading them.
//!
//! Their form is told in `testdata/nutcracker/README.md`. `run` walks a case through a proxy.

mod commands;
mod data;
mod run;
mod test_conf;

pub use commands::{Answered, CommandRow, command_rows};
pub use data::{Case, Difference, Expectation, Ours, Server, ShownByTest, Step, differences, load, testdata};
pub use run::{Side, Walk};
pub use test_conf::{OursTakes, TestConf};
