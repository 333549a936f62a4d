//! At the size of a company.
