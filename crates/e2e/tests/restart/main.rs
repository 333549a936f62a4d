//! The next process takes over from the running one: under load, in spite of what goes wrong, and how sessions leave.

mod clients;
mod faults;
mod leaving;
mod load;
mod place;
mod tls;
