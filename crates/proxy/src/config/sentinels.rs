//! A server of a pool that is given by the sentinels that watch it.

use std::path::Path;

use shoal_topology::{Endpoint, Shard};

use super::ServerEntry;
use crate::following::shard::{Followed, Sentinels, nowhere};
use crate::settings::Secret;

/// Sentinels of one shard; Redis's own advice is three or five.
const SENTINELS_MAX: usize = 31;

impl ServerEntry {
    /// Where the server is, or what stands there until its sentinels have said so.
    pub(super) fn place(&self, cache: bool, folder: &Path) -> Result<(Endpoint, Option<Followed>), String> {
        match (&self.address, &self.sentinels, &self.watched_as) {
            (Some(address), None, None) => {
                if self.sentinel_user.is_some() || self.sentinel_password_file.is_some() {
                    return Err(format!(
                        "servers: {address} has an address, so no sentinel is asked: leave sentinel_user and \
                                        sentinel_password_file out"
                    ));
                }
                Ok((address.parse().map_err(|error| format!("servers: {error}"))?, None))
            }
            (None, Some(sentinels), Some(watched_as)) => {
                let sentinels = self.sentinels(sentinels, watched_as, cache, folder);
                let sentinels = sentinels.map_err(|why| format!("servers: {watched_as}: {why}"))?;
                Ok((nowhere(watched_as), Some(Followed::new(sentinels))))
            }
            (Some(address), ..) => Err(format!(
                "servers: {address} has an address and sentinels: give the address alone, or sentinels with master_name, which \
                 say where the primary is"
            )),
            (None, Some(_), None) => Err(
                "servers: sentinels: master_name is missing, the name under which they monitor the primary \
                 (`sentinel monitor NAME …` in their configuration)"
                    .to_owned(),
            ),
            (None, None, Some(watched_as)) => {
                Err(format!("servers: {watched_as}: sentinels is missing, the list of their addresses"))
            }
            (None, None, None) => {
                Err("servers: a server needs an address, or sentinels with master_name".to_owned())
            }
        }
    }

    fn sentinels(
        &self,
        given: &[String],
        watched_as: &str,
        cache: bool,
        folder: &Path,
    ) -> Result<Sentinels, String> {
        if cache {
            return Err("sentinels watch the shards of a storage pool. In a cache pool a dead server is ejected, and has no \
                        replica to go on with: give its address, or make the pool's mode storage"
                .to_owned());
        }
        if watched_as.is_empty() || watched_as.contains(|c: char| c.is_whitespace() || c.is_control()) {
            return Err("master_name: it is empty, or has blanks, which no sentinel takes".to_owned());
        }
        if !(1..=SENTINELS_MAX).contains(&given.len()) {
            return Err(format!("sentinels: {} are not between 1 and {SENTINELS_MAX}", given.len()));
        }
        let mut endpoints: Vec<Endpoint> = Vec::new();
        for text in given {
            let endpoint: Endpoint = text.parse().map_err(|error| format!("sentinels: {error}"))?;
            if matches!(endpoint, Endpoint::Unix { .. }) {
                return Err(format!("sentinels: {endpoint} is no host:port, by which sentinels are reached"));
            }
            if endpoints.contains(&endpoint) {
                return Err(format!("sentinels: {endpoint} stands there twice, and would count twice"));
            }
            endpoints.push(endpoint);
        }
        let password = match &self.sentinel_password_file {
            Some(file) => {
                let text = crate::io::secret_file::read(&folder.join(file))?;
                match text.trim_end_matches(['\r', '\n']) {
                    "" => return Err(format!("sentinel_password_file: {file} is empty")),
                    password => Some(Secret::new(password)),
                }
            }
            None => None,
        };
        if self.sentinel_user.is_some() && password.is_none() {
            return Err("sentinel_user: give its password too, by sentinel_password_file".to_owned());
        }
        let (watched_as, user) = (watched_as.to_owned(), self.sentinel_user.clone());
        Ok(Sentinels { endpoints, watched_as, user, password })
    }
}

/// Two shards must not be one instance; where nobody follows, there is nothing to keep.
pub(super) fn check_followed(all: &mut Vec<Option<Followed>>) -> Result<(), String> {
    for (index, one) in all.iter().enumerate() {
        let Some(one) = one else { continue };
        let same = |other: &&Followed| {
            other.sentinels.watched_as == one.sentinels.watched_as
                && other.sentinels.endpoints.iter().any(|endpoint| one.sentinels.endpoints.contains(endpoint))
        };
        if all[..index].iter().flatten().any(|other| same(&other)) {
            let name = &one.sentinels.watched_as;
            return Err(format!(
                "servers: two shards follow {name}, and would hold each other's keys: remove one"
            ));
        }
    }
    if all.iter().all(Option::is_none) {
        all.clear();
    }
    Ok(())
}

/// The servers that are given by their addresses, each with what it is called.
pub(super) fn addresses<'s>(shards: &'s [Shard], all: &[Option<Followed>]) -> Vec<(String, &'s Endpoint)> {
    let given = shards.iter().enumerate().filter(|(index, _)| !matches!(all.get(*index), Some(Some(_))));
    given.map(|(_, shard)| (format!("server {}", shard.name), &shard.primary)).collect()
}

/// The sentinels that are asked for the others, each with what it is called.
pub(super) fn asked<'s>(shards: &[Shard], all: &'s [Option<Followed>]) -> Vec<(String, &'s Endpoint)> {
    let found = shards.iter().zip(all).filter_map(|(shard, followed)| Some((shard, followed.as_ref()?)));
    let each = found.flat_map(|(shard, followed)| {
        followed
            .sentinels
            .endpoints
            .iter()
            .map(|endpoint| (format!("a sentinel of {}", shard.name), endpoint))
    });
    each.collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::config::from_proxy_yml;
    use crate::following::shard::Primary;
    use crate::settings::PoolSettings;

    fn pool(mode: &str, servers: &[&str]) -> Result<PoolSettings, String> {
        let mut text =
            format!("pools:\n  - name: p\n    mode: {mode}\n    listen: 127.0.0.1:1\n    servers:\n");
        servers.iter().for_each(|server| text.push_str(&format!("      - {{{server}}}\n")));
        let read = from_proxy_yml(Path::new("proxy.yml"), &text, 1);
        read.map(|mut config| config.settings.pools.remove(0)).map_err(
            |error| match std::error::Error::source(&error) {
                Some(source) => format!("{error}: {source}"),
                None => error.to_string(),
            },
        )
    }

    #[test]
    fn a_shard_is_called_by_its_name_wherever_its_primary_is() {
        let one = "sentinels: ['10.0.0.1:26379', 's:26379'], master_name: m";
        let settings = pool("storage", &[one, "name: b, address: '10.0.0.9:1'"]).unwrap();
        let [shard, other] = &settings.pool.shards[..] else { panic!("two shards") };
        assert_eq!((shard.name.as_str(), settings.primary(0)), ("m", Primary::Unknown));
        assert_eq!((other.name.as_str(), settings.primary(1)), ("b", Primary::Known));
        assert_eq!(settings.followed(0).unwrap().sentinels.endpoints.len(), 2);
        assert!(settings.followed(1).is_none() && !settings.primaries_known());
        let known = settings.with_primary(0, Primary::Known, "10.0.0.2:1".parse().ok().as_ref());
        assert_eq!(
            (known.pool.shards[0].primary.to_string().as_str(), known.primaries_known()),
            ("10.0.0.2:1", true)
        );
        let mut again = pool("storage", &["name: a, address: '10.0.0.9:1'", one]).unwrap();
        again.inherit_primaries(Some(&known));
        assert_eq!(
            (again.primary(1), again.pool.shards[1].primary.to_string().as_str()),
            (Primary::Known, "10.0.0.2:1")
        );
        let mut other = pool("storage", &["name: m, sentinels: ['s:1'], master_name: n"]).unwrap();
        other.inherit_primaries(Some(&known));
        assert_eq!(other.primary(0), Primary::Switching, "another primary is meant");
        let mut first = pool("storage", &[one]).unwrap();
        first.inherit_primaries(None);
        assert_eq!(first.primary(0), Primary::Switching, "requests wait for the first word");
        assert!(pool("storage", &["address: '10.0.0.9:1'"]).unwrap().followed.is_empty());
    }

    #[test]
    fn what_is_wrong_is_refused_by_name_and_says_what_to_do() {
        let one = "sentinels: ['s:1', 't:1'], master_name: m";
        let cases: [(&str, &[&str], &str); 11] = [
            ("cache", &[one], "make the pool's mode storage"),
            ("storage", &["sentinels: ['s:1']"], "master_name is missing"),
            ("storage", &["master_name: m"], "sentinels is missing"),
            ("storage", &["name: a"], "needs an address, or sentinels with master_name"),
            ("storage", &["address: 'a:1', sentinels: ['s:1'], master_name: m"], "give the address alone"),
            ("storage", &["address: 'a:1', sentinel_user: u"], "leave sentinel_user"),
            ("storage", &["sentinels: [], master_name: m"], "not between 1 and 31"),
            ("storage", &["sentinels: ['s:1', 's:1'], master_name: m"], "would count twice"),
            ("storage", &["sentinels: ['s'], master_name: m"], "no port"),
            ("storage", &["sentinels: ['s:1'], master_name: m, sentinel_user: u"], "sentinel_password_file"),
            ("storage", &[one, "name: b, sentinels: ['t:1'], master_name: m"], "each other's keys"),
        ];
        for (mode, servers, part) in cases {
            let said = pool(mode, servers).unwrap_err();
            assert!(said.starts_with("proxy.yml") && said.contains(part), "{said:?} does not say {part:?}");
        }
    }
}
