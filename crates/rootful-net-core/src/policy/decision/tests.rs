use super::super::usage::{Amounts, Resource};
use super::*;

const POLICY: &str = r#"
[[grant]]
groups = ["rootful-net"]
networks = ["rootful0"]
host_addresses = ["*"]
ports = { tcp = ["1024-65535"], udp = ["1024-65535"] }
quota = { attachments = 2 }

[[grant]]
users = [1001]
networks = ["app-*"]
host_addresses = ["192.0.2.7"]
ports = { tcp = ["80", "443"] }
static_addresses = true
"#;

fn policy() -> Policy {
    let mut policy = Policy::default();
    policy.add_file("test.toml", POLICY).unwrap();
    policy
}

fn caller(uid: u32, group: Option<&str>) -> Caller {
    let groups = group.map(|name| Group { gid: 900, name: Some(name.to_owned()) });
    Caller { uid, user_name: None, groups: groups.into_iter().collect() }
}

fn member() -> Caller {
    caller(1000, Some("rootful-net"))
}

fn request(networks: &[&str], publish: &[&str]) -> AttachRequest {
    let networks = networks.iter().map(|text| text.parse().unwrap()).collect();
    let publish: Vec<_> = publish.iter().map(|text| text.parse().unwrap()).collect();
    AttachRequest::new("web".parse().unwrap(), None, networks, &publish, Vec::new()).unwrap()
}

fn decide(
    caller: &Caller,
    networks: &[&str],
    publish: &[&str],
    attachments: u32,
) -> Result<Authorized<AttachRequest>, Denied> {
    let amounts = Amounts { attachments, ..Amounts::default() };
    let usage = Usage { by_owner: amounts, in_all: amounts };
    match decide_by(&policy(), caller, usage, request(networks, publish), Consent::NotAsked)? {
        Decision::Allowed(authorized) => Ok(authorized),
        Decision::AskPolkit(sources) => panic!("polkit is asked because of {sources:?}"),
    }
}

fn decide_by(
    policy: &Policy,
    caller: &Caller,
    usage: Usage,
    request: AttachRequest,
    consent: Consent,
) -> Result<Decision, Denied> {
    authorize(policy, caller, caller.uid, usage, request, consent)
}

#[test]
fn a_member_of_a_granted_group_is_allowed() {
    assert!(decide(&member(), &["rootful0"], &["8080:80", "53:53/udp"][..1], 0).is_ok());
}

#[test]
fn a_stranger_is_refused() {
    let denied = decide(&caller(1002, None), &["rootful0"], &[], 0).unwrap_err();
    assert!(matches!(denied, Denied::Network { .. }), "{denied}");
}

#[test]
fn a_user_without_a_policy_is_refused() {
    let request = request(&["rootful0"], &[]);
    let usage = Usage::default();
    let decision = decide_by(&Policy::default(), &member(), usage, request, Consent::Given);
    assert!(matches!(decision, Err(Denied::Network { .. })), "{decision:?}");
}

#[test]
fn a_port_below_the_grant_is_refused_and_the_grant_is_named() {
    let denied = decide(&member(), &["rootful0"], &["1023:80"], 0).unwrap_err();
    assert_eq!(
        denied.to_string(),
        "user 1000 may not publish port 1023/tcp from network \"rootful0\"; granted are: 1024-65535"
    );
}

#[test]
fn a_protocol_without_ports_is_refused() {
    let denied = decide(&member(), &["rootful0"], &["2000:80/sctp"], 0).unwrap_err();
    assert!(denied.to_string().ends_with("granted are: none"), "{denied}");
}

#[test]
fn ports_of_one_network_do_not_reach_another() {
    let both = caller(1001, Some("rootful-net"));
    assert!(decide(&both, &["app-x"], &["192.0.2.7:443:443"], 0).is_ok());
    assert!(decide(&both, &["rootful0"], &["192.0.2.7:443:443"], 0).is_err());
    assert!(decide(&both, &["app-x", "rootful0"], &["192.0.2.7:443:443"], 0).is_err());
}

#[test]
fn a_host_address_outside_the_grant_is_refused() {
    let user = caller(1001, None);
    for publish in ["443:443", "192.0.2.8:443:443", "[::]:443:443", "0.0.0.0:443:443"] {
        let denied = decide(&user, &["app-x"], &[publish], 0).unwrap_err();
        assert!(matches!(denied, Denied::HostAddress { .. }), "{publish}: {denied}");
    }
}

#[test]
fn choosing_an_address_needs_a_grant_for_it() {
    let denied = decide(&member(), &["rootful0:ip=10.87.0.9"], &[], 0).unwrap_err();
    assert!(matches!(denied, Denied::StaticAddress { .. }), "{denied}");
    assert!(decide(&caller(1001, None), &["app-x:ip=10.9.0.9"], &[], 0).is_ok());
}

#[test]
fn the_quota_is_the_last_attachment() {
    assert!(decide(&member(), &["rootful0"], &[], 1).is_ok());
    let denied = decide(&member(), &["rootful0"], &[], 2).unwrap_err();
    assert!(matches!(denied, Denied::Quota { limit: 2, .. }), "{denied}");
}

#[test]
fn root_needs_no_grant() {
    let request = request(&["rootful0:ip=10.87.0.9"], &["80:80"]);
    let root = caller(0, None);
    let usage = Usage::default();
    let decision = decide_by(&Policy::default(), &root, usage, request, Consent::NotAsked);
    assert!(matches!(decision, Ok(Decision::Allowed(_))), "{decision:?}");
}

#[test]
fn a_chosen_port_stays_inside_the_grant() {
    let authorized = decide(&member(), &["rootful0"], &[":80"], 0).unwrap();
    let network: NetworkName = "rootful0".parse().unwrap();
    let allows = |number| {
        let port = Port::new(number).unwrap();
        authorized.allows_port(&network, HostAddress::Any, Protocol::Tcp, port)
    };
    assert!(allows(49152));
    assert!(!allows(1023));
}

const MORE: &str = r#"
[[grant]]
users = ["alice"]
networks = ["a", "b"]
host_addresses = ["192.0.2.0/24", "::1"]
ports = { tcp = ["80-89"] }
quota = { attachments = 3, interfaces = 2, ports = 3, aliases = 1 }

[[grant]]
users = ["alice"]
networks = ["b", "guarded"]
host_addresses = ["*"]
ports = { tcp = ["1-1023"] }
static_addresses = true
aliases = true
quota = { attachments = 5, interfaces = 9, ports = 9, aliases = 4 }
authorize = "polkit"

[limits]
ports = 20
"#;

fn alice() -> Caller {
    Caller { uid: 1005, user_name: Some("alice".to_owned()), groups: Vec::new() }
}

/// What is decided of a request of alice's: `ok`, `ask`, or the beginning of the reason.
#[test]
fn decisions_of_two_grants_of_which_one_asks_polkit() {
    let none = Amounts::default();
    let holding = |attachments, ports| Amounts { attachments, ports, ..none };
    type Case<'a> = (&'a str, &'a [&'a str], &'a [&'a str], Amounts, &'a str);
    let cases: &[Case<'_>] = &[
        ("a plain grant", &["a"], &[], none, "ok"),
        ("a plain grant goes before one that asks", &["b"], &[], none, "ok"),
        ("a network that only polkit can grant", &["guarded"], &[], none, "ask"),
        ("one network of each kind", &["a", "guarded"], &[], none, "ask"),
        ("a network of no grant", &["c"], &[], none, "user alice may not use network \"c\""),
        ("a port of the plain grant", &["b"], &["192.0.2.1:80:80"], none, "ok"),
        ("its last port", &["b"], &["192.0.2.1:89:80"], none, "ok"),
        ("a port behind it", &["b"], &["192.0.2.1:90:80"], none, "ask"),
        ("an address that only polkit can grant", &["b"], &["80:80"], none, "ask"),
        (
            "a port of no grant",
            &["b"],
            &["192.0.2.1:1024:80"],
            none,
            "user alice may not publish port 1024/tcp",
        ),
        (
            "a protocol of no grant",
            &["a"],
            &["192.0.2.1:80:80/udp"],
            none,
            "user alice may not publish port 80/udp",
        ),
        (
            "an address of no grant",
            &["a"],
            &["198.51.100.1:80:80"],
            none,
            "user alice may not publish port 80/tcp on host address 198.51.100.1; granted for it are: 192.0.2.0/24, ::1",
        ),
        (
            "a port and an address of two grants",
            &["a"],
            &["80:80"],
            none,
            "user alice may not publish port 80/tcp on host address",
        ),
        ("a port for each of two networks", &["a", "b"], &["192.0.2.1:80:80"], none, "ok"),
        ("a port that one network lacks", &["a", "guarded"], &["192.0.2.1:80:80"], none, "ask"),
        ("any free port", &["a"], &["192.0.2.1::80"], none, "ok"),
        (
            "an address of one's own",
            &["a:ip=10.0.0.9"],
            &[],
            none,
            "user alice may not choose an address",
        ),
        (
            "a MAC address of one's own",
            &["a:mac=02:00:00:00:00:01"],
            &[],
            none,
            "user alice may not choose an address",
        ),
        ("an address where polkit can grant it", &["b:ip=10.0.0.9"], &[], none, "ask"),
        ("an alias", &["a:alias=www"], &[], none, "user alice may not give containers aliases"),
        ("an alias where polkit can grant it", &["b:alias=www"], &[], none, "ask"),
        (
            "more aliases than anybody",
            &["b:alias=v,alias=w,alias=x,alias=y,alias=z"],
            &[],
            none,
            "user alice would have 5 aliases, more than the quota of 4",
        ),
        ("the last attachment", &["a"], &[], holding(2, 0), "ok"),
        (
            "one attachment too many",
            &["a"],
            &[],
            holding(3, 0),
            "user alice would have 4 attachments, more than the quota of 3",
        ),
        ("more than the plain quota", &["b"], &[], holding(3, 0), "ask"),
        (
            "more than any quota",
            &["b"],
            &[],
            holding(5, 0),
            "user alice would have 6 attachments, more than the quota of 5",
        ),
        ("the last port of the quota", &["a"], &["192.0.2.1:80-82:80-82"], none, "ok"),
        (
            "a port too many",
            &["a"],
            &["192.0.2.1:80-83:80-83"],
            none,
            "user alice would have 4 published ports",
        ),
        (
            "ports held already",
            &["a"],
            &["192.0.2.1:80-82:80-82"],
            holding(1, 1),
            "user alice would have 4 published ports",
        ),
        ("a quota that holds for another resource", &["a"], &[], holding(1, 9), "ok"),
        ("too many networks", &["a", "b", "guarded"], &[], none, "ask"),
    ];
    let mut policy = Policy::default();
    policy.add_file("more.toml", MORE).unwrap();
    for (what, networks, publish, held, expected) in cases {
        let usage = Usage { by_owner: *held, in_all: Amounts::default() };
        let request = request(networks, publish);
        let decision = decide_by(&policy, &alice(), usage, request.clone(), Consent::NotAsked);
        let said = match &decision {
            Ok(Decision::Allowed(_)) => "ok".to_owned(),
            Ok(Decision::AskPolkit(sources)) => {
                assert_eq!(sources, &["more.toml, grant 2"], "{what}");
                "ask".to_owned()
            }
            Err(denied) => denied.to_string(),
        };
        assert!(said.starts_with(expected), "{what}: {said}");
        // Consent changes nothing but what polkit was to be asked for.
        let consented = decide_by(&policy, &alice(), usage, request, Consent::Given);
        assert_eq!(consented.is_ok(), decision.is_ok(), "{what}: {consented:?}");
        assert!(!matches!(consented, Ok(Decision::AskPolkit(_))), "{what}");
    }
}

#[test]
fn the_grants_that_decided_are_named_once() {
    let authorized = decide(&member(), &["rootful0"], &["8080:80", "8081:81"], 0).unwrap();
    assert_eq!(authorized.sources(), ["test.toml, grant 1"]);
}

#[test]
fn a_chosen_port_of_a_grant_that_asks_needs_consent() {
    let mut policy = Policy::default();
    policy.add_file("more.toml", MORE).unwrap();
    let network: NetworkName = "b".parse().unwrap();
    let allows = |consent| {
        let usage = Usage::default();
        let decision = decide_by(&policy, &alice(), usage, request(&["b"], &[]), consent);
        let Ok(Decision::Allowed(authorized)) = decision else { panic!("{decision:?}") };
        authorized.allows_port(&network, HostAddress::Any, Protocol::Tcp, Port::new(90).unwrap())
    };
    assert!(!allows(Consent::NotAsked));
    assert!(allows(Consent::Given));
}

#[test]
fn the_limit_for_all_users_holds_for_whoever_comes_last() {
    let mut policy = policy();
    policy.add_file("more.toml", MORE).unwrap();
    let usage = Usage { in_all: Amounts { ports: 20, ..Amounts::default() }, ..Usage::default() };
    let decide = |publish: &[&str]| {
        decide_by(&policy, &member(), usage, request(&["rootful0"], publish), Consent::NotAsked)
    };
    assert!(decide(&[]).is_ok());
    let denied = decide(&["8080:80"]).unwrap_err();
    let expected = Denied::Limit { resource: Resource::Ports, in_use: 20, limit: 20 };
    assert_eq!(denied, expected);
}

#[test]
fn a_later_file_changes_only_the_limits_that_it_names() {
    let mut policy = policy();
    policy.add_file("60.toml", "[limits]\nports = 7\nattachments = 5\n").unwrap();
    policy.add_file("70.toml", "[limits]\nports = 9\n").unwrap();
    assert_eq!(policy.limits().of(Resource::Ports), Some(9));
    assert_eq!(policy.limits().of(Resource::Attachments), Some(5));
    assert!(policy.limits().of(Resource::Aliases).is_some());
}

#[test]
fn a_file_that_is_refused_adds_nothing() {
    let mut policy = policy();
    let before = policy.clone();
    let text = format!("{MORE}\n[[grant]]\nusers = [1]\n");
    assert!(policy.add_file("bad.toml", &text).is_err());
    assert_eq!(policy, before);
}

#[test]
fn groups_count_by_id_and_by_name() {
    let mut policy = Policy::default();
    let text = "[[grant]]\ngroups = [\"web\", 77]\nnetworks = [\"a\"]\n";
    policy.add_file("groups.toml", text).unwrap();
    let member_of = |gid, name: &str| Caller {
        uid: 1005,
        // The name of a group is not that of a user.
        user_name: Some("web".to_owned()),
        groups: vec![Group { gid, name: Some(name.to_owned()) }],
    };
    let decide = |caller: &Caller| {
        let usage = Usage::default();
        decide_by(&policy, caller, usage, request(&["a"], &[]), Consent::NotAsked).is_ok()
    };
    assert!(decide(&member_of(5, "web")));
    assert!(decide(&member_of(77, "other")));
    assert!(!decide(&member_of(5, "77")));
    assert!(!decide(&member_of(5, "other")));
}
