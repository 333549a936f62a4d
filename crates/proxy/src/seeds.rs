//! The seeds of simulations.

/// Seeds of a run: the first `count`; from `SHOAL_SIM_SEED` on, where that is given, four times as many.
#[expect(clippy::disallowed_methods, reason = "a person replays a seed by the environment")]
pub fn seeds(count: u32) -> Vec<u32> {
    match std::env::var("SHOAL_SIM_SEED").ok().and_then(|text| text.parse::<u32>().ok()) {
        Some(seed) => (0..4 * count).map(|nth| seed.wrapping_add(nth)).collect(),
        None => (1..=count).collect(),
    }
}
