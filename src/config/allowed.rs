//! Which servers somebody who is no superuser may have the mirror connect to.
//!
//! A worker of the database server reaches what its caller may not: the server itself past its
//! password (`trust` or `peer` for local connections), and machines of an inner network. So a
//! caller without a superuser's rights may name any server but this one, or only what a superuser
//! listed.

use std::net::IpAddr;

use super::{ConfigError, Host};

/// A superuser's list: host names, `*.example.com`, addresses and networks, separated by commas.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AllowedSources(Vec<Pattern>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Pattern {
    /// In lower case.
    Name(String),
    /// `.example.com`, in lower case.
    Below(String),
    Network {
        address: IpAddr,
        bits: u8,
    },
}

impl AllowedSources {
    /// # Errors
    /// An entry that is no name, address or network.
    pub fn parse(list: &str) -> Result<AllowedSources, ConfigError> {
        let entries = list.split(',').map(str::trim).filter(|entry| !entry.is_empty());
        entries.map(Pattern::parse).collect::<Result<_, _>>().map(AllowedSources)
    }

    /// Whether there is no list: then any server but this one is allowed.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether the list names the host itself. A name counts only where it decides what is
    /// connected to: beside a hostaddr it is decoration.
    fn names(&self, host: &Host) -> bool {
        host.address.is_none() && self.0.iter().any(|pattern| pattern.names(&host.name))
    }

    /// Whether the list has the address.
    fn has(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|pattern| pattern.has(address))
    }

    /// Whether a superuser listed what is connected to: a secret of the server's own goes only
    /// there.
    pub fn lists(&self, host: &Host, address: IpAddr) -> bool {
        self.names(host) || self.has(address)
    }

    /// Whether a connection to this address, to which the host led, is allowed. `here`: the address
    /// is one of this machine's own.
    pub fn allow(&self, host: &Host, address: IpAddr, here: bool) -> bool {
        if self.has(address) {
            return true;
        }
        let reachable = !here && !is_local(address);
        reachable && (self.is_empty() || self.names(host))
    }
}

/// Whether only this machine or its own link answers there, whatever the routes say.
fn is_local(address: IpAddr) -> bool {
    let address = address.to_canonical();
    let link_local = match address {
        IpAddr::V4(address) => address.is_link_local() || address.is_broadcast(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    };
    address.is_loopback() || address.is_unspecified() || address.is_multicast() || link_local
}

impl Pattern {
    fn parse(entry: &str) -> Result<Pattern, ConfigError> {
        let (address, bits) = match entry.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (entry, None),
        };
        if let Ok(address) = address.parse::<IpAddr>() {
            let most = if address.is_ipv4() { 32 } else { 128 };
            let bits = match bits {
                None => Some(most),
                Some(bits) => bits.parse().ok().filter(|bits| *bits <= most),
            };
            return match bits {
                Some(bits) => Ok(Pattern::Network { address, bits }),
                None => Err(refused("an entry of the allowed sources has an impossible number of bits")),
            };
        }
        let (name, below) = match entry.strip_prefix("*.") {
            Some(name) => (name, true),
            None => (entry, false),
        };
        let is_name = |c: char| c.is_alphanumeric() || matches!(c, '.' | '-' | '_');
        if name.is_empty() || bits.is_some() || !name.chars().all(is_name) {
            return Err(refused("an entry of the allowed sources is no host name, address or network"));
        }
        let name = name.trim_end_matches('.').to_lowercase();
        Ok(if below { Pattern::Below(format!(".{name}")) } else { Pattern::Name(name) })
    }

    fn names(&self, host: &str) -> bool {
        let host = host.trim_end_matches('.').to_lowercase();
        match self {
            Pattern::Name(name) => *name == host,
            Pattern::Below(suffix) => host.len() > suffix.len() && host.ends_with(suffix.as_str()),
            Pattern::Network { .. } => false,
        }
    }

    fn has(&self, wanted: IpAddr) -> bool {
        let Pattern::Network { address, bits } = self else { return false };
        match (address.to_canonical(), wanted) {
            (IpAddr::V4(address), IpAddr::V4(wanted)) => {
                let kept = u32::MAX.checked_shl(32 - u32::from(*bits).min(32)).unwrap_or(0);
                address.to_bits() & kept == wanted.to_bits() & kept
            }
            (IpAddr::V6(address), IpAddr::V6(wanted)) => {
                let kept = u128::MAX.checked_shl(128 - u32::from(*bits)).unwrap_or(0);
                address.to_bits() & kept == wanted.to_bits() & kept
            }
            _ => false,
        }
    }
}

fn refused(why: &str) -> ConfigError {
    ConfigError::new(why)
        .hint("List names, *.example.com, addresses and networks such as 10.1.0.0/16, separated by commas.")
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::{AllowedSources, Host};

    fn host(name: &str, address: Option<&str>) -> Host {
        Host { name: name.to_owned(), address: address.map(|address| address.parse().unwrap()), port: 5432 }
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn without_a_list_any_server_but_this_one_is_allowed() {
        let any = AllowedSources::default();
        assert!(any.allow(&host("odoo.example", None), address("10.1.2.3"), false));
        for here in [
            "127.0.0.1",
            "127.8.9.1",
            "::1",
            "0.0.0.0",
            "::",
            "169.254.169.254",
            "fe80::1",
            "::ffff:127.0.0.1",
        ] {
            assert!(!any.allow(&host("odoo.example", None), address(here), false), "{here}");
        }
        assert!(!any.allow(&host("odoo.example", None), address("10.1.2.3"), true), "its own address");
    }

    #[test]
    fn a_list_allows_what_it_names_and_nothing_else() {
        let list = AllowedSources::parse("odoo.example, *.corp.example, 10.1.0.0/16, 2001:db8::/32").unwrap();
        let elsewhere = address("203.0.113.9");
        for (name, hostaddr, reached, allowed) in [
            ("odoo.example", None, elsewhere, true),
            ("ODOO.example.", None, elsewhere, true),
            ("db.corp.example", None, elsewhere, true),
            ("corp.example", None, elsewhere, false),
            ("evilcorp.example", None, elsewhere, false),
            ("other.example", None, elsewhere, false),
            ("other.example", None, address("10.1.255.1"), true),
            ("other.example", None, address("10.2.0.1"), false),
            ("other.example", None, address("2001:db8:1::1"), true),
            ("other.example", None, address("::ffff:10.1.0.7"), true),
            ("odoo.example", Some("203.0.113.9"), elsewhere, false),
            ("odoo.example", None, address("127.0.0.1"), false),
        ] {
            assert_eq!(
                list.allow(&host(name, hostaddr), reached, false),
                allowed,
                "{name} {hostaddr:?} {reached}"
            );
        }
    }

    #[test]
    fn nothing_is_listed_by_an_empty_list_nor_by_a_name_beside_another_address() {
        let elsewhere = address("203.0.113.9");
        assert!(!AllowedSources::default().lists(&host("odoo.example", None), elsewhere));
        let list = AllowedSources::parse("odoo.example, 10.1.0.0/16").unwrap();
        assert!(list.lists(&host("odoo.example", None), elsewhere));
        assert!(!list.lists(&host("odoo.example", Some("203.0.113.9")), elsewhere));
        assert!(list.lists(&host("other.example", None), address("10.1.2.3")));
        assert!(!list.lists(&host("other.example", None), elsewhere));
    }

    #[test]
    fn this_very_server_is_allowed_where_it_is_listed_by_its_address() {
        let list = AllowedSources::parse("127.0.0.1").unwrap();
        assert!(list.allow(&host("localhost", None), address("127.0.0.1"), true));
        assert!(!list.allow(&host("localhost", None), address("127.0.0.2"), true));
    }

    #[test]
    fn an_entry_that_is_nothing_of_the_kind_is_refused() {
        for list in ["10.0.0.0/33", "a b", "x/8", "*.", "::/129", "https://odoo"] {
            assert!(AllowedSources::parse(list).is_err(), "{list}");
        }
        assert!(AllowedSources::parse(" , ").unwrap().is_empty());
    }

    #[test]
    fn networks_of_every_size_hold_what_shares_their_bits() {
        for bits in 0..=32_u32 {
            let list = AllowedSources::parse(&format!("192.0.2.255/{bits}")).unwrap();
            let flipped = |bit: u32| IpAddr::from((0xc000_02ff_u32 ^ (1 << bit)).to_be_bytes());
            for bit in 0..32 {
                assert_eq!(list.has(flipped(bit)), bit < 32 - bits, "/{bits}, bit {bit}");
            }
        }
    }
}
