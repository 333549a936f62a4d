//! `config/test-conf.yaml`: which configurations the test flag `-t` takes and which it refuses.

use serde::Deserialize;

/// One configuration.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TestConf {
    /// What it shows.
    pub case: String,
    /// The file's text; `lines` instead puts lines into a pool that is right.
    pub config: Option<String>,
    /// Lines of a pool `alpha` that has `listen`, `redis: true` and one server.
    pub lines: Option<String>,
    /// Whether the real one takes it: exit status 0, else 1.
    pub taken: bool,
    /// What ours does instead.
    pub ours: Option<OursTakes>,
    /// Words that our refusal must contain: the key, or what is wrong with it.
    #[serde(default)]
    pub names: Vec<String>,
}

/// An intended difference.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OursTakes {
    /// Its row in `differences.yaml`.
    pub difference: String,
    /// Whether ours takes it.
    pub taken: bool,
}

impl TestConf {
    /// The text of the file.
    #[must_use]
    pub fn text(&self) -> String {
        match (&self.config, &self.lines) {
            (Some(config), _) => config.clone(),
            (None, lines) => {
                let mut text = "alpha:\n  listen: 127.0.0.1:22121\n  redis: true\n".to_owned();
                for line in lines.iter().flat_map(|lines| lines.lines()) {
                    text.push_str(&format!("  {line}\n"));
                }
                text.push_str("  servers:\n    - 127.0.0.1:6379:1\n");
                text
            }
        }
    }
}
