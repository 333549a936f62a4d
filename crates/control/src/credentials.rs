//! Who may enter an instance, and what that comes to in rules.
