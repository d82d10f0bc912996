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
    let request = request(networks, publish);
    authorize(&policy(), caller, caller.uid, Usage { attachments }, request)
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
    assert!(authorize(&Policy::default(), &member(), 1000, usage, request).is_err());
}

#[test]
fn a_port_below_the_grant_is_refused_and_the_grant_is_named() {
    let denied = decide(&member(), &["rootful0"], &["1023:80"], 0).unwrap_err();
    assert_eq!(
        denied.to_string(),
        "user 1000 may not publish port 1023/tcp; granted are: 1024-65535"
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
    assert!(authorize(&Policy::default(), &root, 1000, Usage::default(), request).is_ok());
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
