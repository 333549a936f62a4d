//! Who may enter: passwords, users with rules, limits; all of it changed while clients are at work.

#[path = "access/alike.rs"]
mod alike;
#[path = "access/libraries.rs"]
mod libraries;
#[path = "access/limits.rs"]
mod limits;
#[path = "access/reload.rs"]
mod reload;
#[path = "access/rig.rs"]
mod rig;
#[path = "access/secrets.rs"]
mod secrets;
