//! What somebody without the rights tries to get, and policies that are not what an administrator wrote: each
//! case has its error, and changes nothing.

use std::collections::HashMap;
use std::fs::{self, Permissions};
use std::os::fd::AsFd as _;
use std::os::unix::fs::{PermissionsExt as _, chown, symlink};
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use rootful_net_dbus::{
    AttachmentProxy, CheckOptions, DetachOptions, Error as WireError, ManagerProxy, PolicyUser,
    StatusOptions, objects,
};
use rootful_net_tests::Test;
use rootful_net_tests::container::Container;
use rootful_net_tests::daemon::Daemon;
use rootful_net_tests::deadline::eventually;
use rootful_net_tests::sandbox::Sandbox;
use rootful_net_tests::user::{Refusal, User, message};
use rustix::process::Signal;
use zbus::{OwnedVariant, Variant};

use crate::daemon::{
    ALICE, BOB, DEADLINE, MALLORY, ROOT, System, container_of, ensure_refused, fd,
};

pub(crate) const TESTS: &[Test] = &[
    ("abuse::policy_file_that_its_group_can_write", |sandbox| {
        refused_file(sandbox, "mode 664", |path| mode(path, 0o664))
    }),
    ("abuse::policy_file_that_everybody_can_write", |sandbox| {
        refused_file(sandbox, "mode 666", |path| mode(path, 0o666))
    }),
    ("abuse::policy_file_of_a_user", |sandbox| {
        refused_file(sandbox, "uid 10003", |path| Ok(chown(path, Some(MALLORY.uid()), None)?))
    }),
    ("abuse::policy_directory_that_everybody_can_write", |sandbox| {
        refused_file(sandbox, "mode 1777", |path| mode(parent(path)?, 0o1777))
    }),
    ("abuse::policy_directory_of_a_user", |sandbox| {
        refused_file(sandbox, "uid 10003", |path| {
            Ok(chown(parent(path)?, Some(MALLORY.uid()), None)?)
        })
    }),
    ("abuse::policy_symlink_to_a_users_file", |sandbox| {
        refused_file(sandbox, "uid 10003", |path| {
            let target = users_directory()?.join("target.toml");
            fs::rename(path, &target).or_else(|_| fs::copy(path, &target).map(|_| ()))?;
            let _ = fs::remove_file(path);
            Ok(symlink(&target, path)?)
        })
    }),
    ("abuse::policy_symlink_through_a_users_directory", |sandbox| {
        refused_file(sandbox, "uid 10003", |path| {
            // Both ends are root's; the link in the middle is not safe from its directory's owner.
            let target = Path::new("/etc/rootful-net/elsewhere.toml");
            fs::rename(path, target)?;
            let middle = users_directory()?.join("middle.toml");
            symlink(target, &middle)?;
            Ok(symlink(&middle, path)?)
        })
    }),
    ("abuse::policy_symlinks_in_a_circle", |sandbox| {
        refused_file(sandbox, "symbolic links", |path| {
            fs::remove_file(path)?;
            let other = parent(path)?.join("other");
            symlink(path, &other)?;
            Ok(symlink(&other, path)?)
        })
    }),
    ("abuse::policy_fifo_is_not_waited_for", |sandbox| {
        refused_file(sandbox, "no file", |path| {
            fs::remove_file(path)?;
            let file_type = rustix::fs::FileType::Fifo;
            let mode = rustix::fs::Mode::from_raw_mode(0o600);
            Ok(rustix::fs::mknodat(rustix::fs::CWD, path, file_type, mode, 0)?)
        })
    }),
    ("abuse::policy_file_without_end", |sandbox| {
        refused_file(sandbox, "/dev/zero is uid 0 and its mode 666", |path| {
            fs::remove_file(path)?;
            Ok(symlink("/dev/zero", path)?)
        })
    }),
    ("abuse::policy_file_that_is_too_long", |sandbox| {
        refused_file(sandbox, "longer than", |path| Ok(fs::write(path, " ".repeat(2 << 20))?))
    }),
    ("abuse::policy_with_an_unknown_key", |sandbox| {
        refused_file(sandbox, "line 4: unknown field `colour`", |path| {
            append(path, "colour = \"red\"\n")
        })
    }),
    ("abuse::policy_with_a_bad_range", |sandbox| {
        refused_file(sandbox, "line 5: \"9-1\"", |path| {
            append(path, "host_addresses = [\"*\"]\nports = { tcp = [\"9-1\"] }\n")
        })
    }),
    ("abuse::policy_cut_off_in_the_middle", |sandbox| {
        refused_file(sandbox, "line 4", |path| append(path, "ports = { tcp = ["))
    }),
    ("abuse::policy_that_is_not_text", |sandbox| {
        refused_file(sandbox, "60-mallory.toml", |path| Ok(fs::write(path, [0xff, 0xfe, 0])?))
    }),
    ("abuse::broken_policy_at_start_denies_all_and_keeps_what_is_attached", broken_at_start),
    ("abuse::reload_at_a_signal_keeps_the_old_policy", reload_at_a_signal),
    ("abuse::grant_that_is_taken_back_counts_no_more", grant_taken_back),
    ("abuse::users_do_not_reload_the_policy", users_do_not_reload),
    ("abuse::users_do_not_see_the_policy_for_others", users_see_their_own),
    ("abuse::port_below_the_grant", |sandbox| {
        denied(sandbox, &["rootful0"], &["1023:80"], "1023/tcp")
    }),
    ("abuse::range_that_starts_below_the_grant", |sandbox| {
        denied(sandbox, &["rootful0"], &["1023-1025:80-82"], "1023/tcp")
    }),
    ("abuse::one_port_of_many_outside_the_grant", |sandbox| {
        denied(sandbox, &["rootful0"], &["2000-2100:1-101", "443:443"], "443/tcp")
    }),
    ("abuse::port_granted_on_another_network", |sandbox| {
        denied(sandbox, &["rootful0"], &["192.0.2.1:80:80"], "80/tcp")
    }),
    ("abuse::port_granted_on_one_of_two_networks", |sandbox| {
        denied(sandbox, &["narrow", "rootful0"], &["192.0.2.1:80:80"], "80/tcp")
    }),
    ("abuse::host_address_outside_the_grant", |sandbox| {
        denied(sandbox, &["narrow"], &["192.0.2.2:80:80"], "192.0.2.2")
    }),
    ("abuse::all_host_addresses_where_one_is_granted", |sandbox| {
        denied(sandbox, &["narrow"], &["80:80"], "80/tcp on host address")
    }),
    ("abuse::address_of_ones_own_without_a_grant", |sandbox| {
        denied(sandbox, &["narrow:ip=10.99.0.9"], &[], "may not choose an address")
    }),
    ("abuse::mac_of_ones_own_without_a_grant", |sandbox| {
        denied(sandbox, &["narrow:mac=02:00:00:00:00:09"], &[], "may not choose an address")
    }),
    ("abuse::alias_without_a_grant", |sandbox| {
        denied(sandbox, &["narrow:alias=gateway"], &[], "may not give containers aliases")
    }),
    ("abuse::network_of_no_grant", |sandbox| denied(sandbox, &["secret"], &[], "\"secret\"")),
    ("abuse::quotas_are_kept_however_they_are_come_by", quotas),
    ("abuse::limits_for_all_users_hold", limits_in_all),
    ("abuse::grant_that_asks_polkit_where_there_is_none", no_polkit),
    ("abuse::others_containers_are_not_detached", others_containers),
];

const GRANT: &str = "[[grant]]\nusers = [\"mallory\"]\nnetworks = [\"rootful0\"]\n";

const NARROW: &str = r#"
[[grant]]
users = ["alice"]
networks = ["narrow"]
host_addresses = ["192.0.2.1"]
ports = { tcp = ["80"] }
"#;

fn network(name: &str, number: u8) -> String {
    format!(
        r#"{{ "name": "{name}", "driver": "bridge", "network_interface": "{name}",
            "subnets": [ {{ "subnet": "10.{number}.0.0/24" }} ] }}"#
    )
}

fn parent(path: &Path) -> Result<&Path> {
    path.parent().context("no directory")
}

fn mode(path: &Path, mode: u32) -> Result<()> {
    Ok(fs::set_permissions(path, Permissions::from_mode(mode))?)
}

fn append(path: &Path, text: &str) -> Result<()> {
    Ok(fs::write(path, fs::read_to_string(path)? + text)?)
}

fn users_directory() -> Result<std::path::PathBuf> {
    let directory = Path::new("/etc/mallory");
    fs::create_dir(directory)?;
    chown(directory, Some(MALLORY.uid()), None)?;
    Ok(directory.to_owned())
}

fn reload(user: User) -> Result<Result<(), Refusal>> {
    user.on_bus(async |connection| {
        let manager = ManagerProxy::new(&connection).await?;
        Ok(manager.reload_policy().await.map_err(|error| Refusal::from(&error)))
    })
}

fn attach(
    user: User,
    container: &Container,
    name: &str,
    networks: &[&str],
    publish: &[&str],
) -> Result<Result<(), Refusal>> {
    let outcome = user.attach(fd(container)?.as_fd(), &message(name, networks, publish))?;
    Ok(outcome.map(|_| ()))
}

/// A file that grants mallory something is refused once it is `spoiled`; alice keeps what she had, and gets more.
fn refused_file(
    sandbox: &Sandbox,
    reason: &str,
    spoil: impl FnOnce(&Path) -> Result<()>,
) -> Result<()> {
    let system = System::start(sandbox)?;
    let (alices, mallorys) = (container_of(ALICE)?, container_of(MALLORY)?);
    ALICE.set_up(&alices, "web", "")?;
    system.installation.add_policy("60-mallory.toml", GRANT)?;
    spoil(Path::new("/etc/rootful-net/policy.d/60-mallory.toml"))?;
    ensure_refused("InvalidArgument", &[reason, "the one from before"], || reload(ROOT))?;
    let denied = || attach(MALLORY, &mallorys, "web", &["rootful0"], &[]);
    ensure_refused("NotAuthorized", &["rootful0"], denied)?;
    let log = Daemon::log()?;
    ensure!(log.contains("ERROR") && log.contains("not put in force"), "{log}");
    let more = container_of(ALICE)?;
    ALICE.set_up(&more, "more", "-p 8080:80")?;
    Ok(())
}

fn broken_at_start(sandbox: &Sandbox) -> Result<()> {
    let mut system = System::start(sandbox)?;
    let (alices, others) = (container_of(ALICE)?, container_of(ALICE)?);
    let roots = container_of(BOB)?;
    let attachment = ALICE.set_up(&alices, "web", "-p 8080:80")?;
    system.end(Daemon::stop)?;
    system.installation.add_policy("60-broken.toml", "[[grant]\n")?;
    system.start_again()?;
    let kept = ALICE.succeed(&["inspect", "web"])?;
    ensure!(kept.contains(&attachment.id), "{kept}");
    let said = &["no policy is in force", "log of rootful-netd"];
    ensure_refused("Unavailable", said, || attach(ALICE, &others, "more", &["rootful0"], &[]))?;
    ensure_refused("Unavailable", said, || attach(MALLORY, &others, "x", &["rootful0"], &[]))
        .or_else(|error| match error.to_string().contains("NamespaceRefused") {
            // The namespace is looked at first; either is a no.
            true => Ok(()),
            false => Err(error),
        })?;
    let log = Daemon::log()?;
    ensure!(log.contains("60-broken.toml: line 1"), "{log}");
    // Only root is told what is wrong in which file.
    let shown = ALICE.succeed(&["policy", "show"])?;
    ensure!(shown.contains("no policy is in force") && !shown.contains("60-broken"), "{shown}");
    let shown = ROOT.succeed(&["policy", "show"])?;
    ensure!(shown.contains("60-broken.toml: line 1"), "{shown}");
    let checked = ALICE.run(&["policy", "check"])?;
    ensure!(checked.code == Some(3) && checked.output.contains("no policy"), "{checked:?}");
    // What needs no grant works on.
    ROOT.set_up(&roots, "roots", "")?;
    ALICE.tear_down("web")?;
    fs::remove_file("/etc/rootful-net/policy.d/60-broken.toml")?;
    reload(ROOT)?.map_err(|refusal| anyhow::anyhow!("{refusal:?}"))?;
    ALICE.set_up(&others, "more", "")?;
    Ok(())
}

fn reload_at_a_signal(sandbox: &Sandbox) -> Result<()> {
    let system = System::start(sandbox)?;
    let container = container_of(MALLORY)?;
    let denied = || attach(MALLORY, &container, "web", &["rootful0"], &[]);
    let logged = |what: &str| {
        let log = Daemon::log()?;
        ensure!(log.contains(what), "{log}");
        Ok(())
    };
    system.installation.add_policy("60-mallory.toml", &format!("{GRANT}colour = 1\n"))?;
    system.daemon()?.signal(Signal::HUP)?;
    eventually(DEADLINE, || logged("not put in force"))?;
    ensure_refused("NotAuthorized", &["rootful0"], denied)?;
    system.installation.add_policy("60-mallory.toml", GRANT)?;
    // A file that is there is not one that is in force.
    ensure_refused("NotAuthorized", &["rootful0"], denied)?;
    system.daemon()?.signal(Signal::HUP)?;
    eventually(DEADLINE, || logged("policy read again"))?;
    MALLORY.set_up(&container, "web", "")?;
    Ok(())
}

fn grant_taken_back(sandbox: &Sandbox) -> Result<()> {
    let system = System::start_with(sandbox, |installation| {
        installation.add_policy("60-mallory.toml", GRANT)
    })?;
    let (container, another) = (container_of(MALLORY)?, container_of(MALLORY)?);
    MALLORY.set_up(&container, "web", "")?;
    system.installation.add_policy("60-mallory.toml", "")?;
    reload(ROOT)?.map_err(|refusal| anyhow::anyhow!("{refusal:?}"))?;
    let denied = |name: &'static str, container| {
        ensure_refused("NotAuthorized", &["rootful0"], || {
            attach(MALLORY, container, name, &["rootful0"], &[])
        })
    };
    denied("more", &another)?;
    // Nor does the same request again, or one in its place.
    denied("web", &container)?;
    MALLORY.tear_down("web")
}

fn users_do_not_reload(sandbox: &Sandbox) -> Result<()> {
    let _system = System::start(sandbox)?;
    for user in [ALICE, MALLORY] {
        ensure_refused("NotAuthorized", &["read the policy again", "polkit"], || reload(user))?;
    }
    Ok(())
}

fn users_see_their_own(sandbox: &Sandbox) -> Result<()> {
    let _system = System::start_with(sandbox, |installation| {
        installation.add_policy("60-mallory.toml", GRANT)
    })?;
    for user in [PolicyUser::Uid(ALICE.uid()), PolicyUser::Name("alice".to_owned())] {
        let check = CheckOptions { user: Some(user.clone()), ..CheckOptions::default() };
        let check = check.to_dictionary();
        let show = StatusOptions { user: Some(user) }.to_dictionary();
        ensure_refused("NotAuthorized", &["only root"], || {
            MALLORY.on_bus(async |connection| {
                let manager = ManagerProxy::new(&connection).await?;
                let networks = ["rootful0".to_owned()];
                let outcome = manager.check_policy(&networks, &[], &check).await;
                Ok(outcome.map_err(|error| Refusal::from(&error)))
            })
        })?;
        ensure_refused("NotAuthorized", &["only root"], || {
            MALLORY.on_bus(async |connection| {
                let manager = ManagerProxy::new(&connection).await?;
                let outcome = manager.show_policy(&show).await;
                Ok(outcome.map(|_| ()).map_err(|error| Refusal::from(&error)))
            })
        })?;
    }
    let own = MALLORY.succeed(&["policy", "show", "--user", "mallory", "--format", "json"])?;
    let own: serde_json::Value = serde_json::from_str(&own)?;
    ensure!(own["grants"].as_array().is_some_and(|grants| grants.len() == 1), "{own}");
    let all = ROOT.succeed(&["policy", "show"])?;
    ensure!(all.contains("60-mallory.toml, grant 1") && all.contains("50-default.toml"), "{all}");
    let of_alice = ROOT.succeed(&["policy", "check", "--user", "alice", "-p", "8080:80"])?;
    ensure!(of_alice.contains("50-default.toml, grant 1"), "{of_alice}");
    let of_bob =
        ROOT.run(&["policy", "check", "--user", "bob", "-p", "80:80", "--format", "json"])?;
    let answer: serde_json::Value = serde_json::from_str(&of_bob.output)?;
    ensure!(of_bob.code == Some(3) && answer["allowed"] == false, "{of_bob:?}");
    Ok(())
}

/// Alice is denied what neither the shipped grant nor one for a network of her own has.
fn denied(sandbox: &Sandbox, networks: &[&str], publish: &[&str], word: &str) -> Result<()> {
    let _system = System::start_with(sandbox, |installation| {
        installation.add_network(&network("narrow", 99))?;
        installation.add_network(&network("secret", 98))?;
        installation.add_policy("60-narrow.toml", NARROW)
    })?;
    let container = container_of(ALICE)?;
    ensure_refused("NotAuthorized", &["user alice", word], || {
        attach(ALICE, &container, "web", networks, publish)
    })?;
    // What is checked is what is decided.
    let mut arguments = vec!["policy", "check"];
    arguments.extend(networks.iter().flat_map(|network| ["--network", network]));
    arguments.extend(publish.iter().flat_map(|publish| ["-p", publish]));
    let checked = ALICE.run(&arguments)?;
    ensure!(checked.code == Some(3) && checked.output.contains(word), "{checked:?}");
    attach(ALICE, &container, "web", &["narrow"], &["192.0.2.1:80:80"])?
        .map_err(|refusal| anyhow::anyhow!("{refusal:?}"))
}

fn quotas(sandbox: &Sandbox) -> Result<()> {
    let _system = System::start_with(sandbox, |installation| {
        installation.add_network(&network("second", 99))?;
        let quota = "{ attachments = 2, interfaces = 3, ports = 3, aliases = 2 }";
        let grant = format!(
            "[[grant]]\nusers = [10003]\nnetworks = [\"rootful0\", \"second\"]\n\
             host_addresses = [\"*\"]\nports = {{ tcp = [\"1024-65535\"] }}\naliases = true\n\
             quota = {quota}\n"
        );
        installation.add_policy("60-mallory.toml", &grant)
    })?;
    let containers = [container_of(MALLORY)?, container_of(MALLORY)?, container_of(MALLORY)?];
    let [first, second, third] = &containers;
    MALLORY.set_up(first, "first", "--network rootful0:alias=a -p 8080-8081:80-81")?;
    let over = |name: &'static str, container, networks: &[&str], publish: &[&str], word: &str| {
        ensure_refused("QuotaExceeded", &["mallory", word], || {
            attach(MALLORY, container, name, networks, publish)
        })
    };
    over("second", second, &["rootful0"], &["8082-8083:80-81"], "4 published ports")?;
    over("second", second, &["rootful0"], &[":80", ":81"], "4 published ports")?;
    over("second", second, &["rootful0:alias=b,alias=c"], &[], "3 aliases")?;
    MALLORY.set_up(second, "second", "--network rootful0 --network second")?;
    over("third", third, &["rootful0"], &[], "3 attachments")?;
    // What takes the place of what is held counts once, and not for less than it is.
    let replace = |publish: &str| {
        let mut message = message("first", &["rootful0"], &[publish]);
        message.replace = true;
        MALLORY.attach(fd(first)?.as_fd(), &message)
    };
    ensure_refused("QuotaExceeded", &["4 published ports"], || replace("8080-8083:80-83"))?;
    replace("8080-8082:80-82")?.map_err(|refusal| anyhow::anyhow!("{refusal:?}"))?;
    MALLORY.tear_down("second")?;
    // Links and bridges go after the answer, and before the next one.
    MALLORY.tear_down("second")?;
    over("second", second, &["rootful0"], &["8090:80"], "4 published ports")?;
    MALLORY.set_up(second, "second", "")?;
    Ok(())
}

fn limits_in_all(sandbox: &Sandbox) -> Result<()> {
    let _system = System::start_with(sandbox, |installation| {
        installation.add_policy("60-limits.toml", "[limits]\nattachments = 2\nports = 3\n")
    })?;
    let containers = [container_of(ALICE)?, container_of(BOB)?, container_of(BOB)?];
    ALICE.set_up(&containers[0], "web", "-p 8080-8081:80-81")?;
    let over = |publish: &[&str], word: &str| {
        ensure_refused("QuotaExceeded", &["all users together", word], || {
            attach(BOB, &containers[1], "web", &["rootful0"], publish)
        })
    };
    over(&["9000-9001:80-81"], "2 of at most 3 published ports")?;
    BOB.set_up(&containers[1], "web", "-p 9000:80")?;
    ensure_refused("QuotaExceeded", &["2 of at most 2 attachments"], || {
        attach(BOB, &containers[2], "more", &["rootful0"], &[])
    })?;
    ALICE.tear_down("web")?;
    BOB.set_up(&containers[2], "more", "")?;
    Ok(())
}

fn no_polkit(sandbox: &Sandbox) -> Result<()> {
    let _system = System::start_with(sandbox, |installation| {
        installation.add_policy("60-mallory.toml", &format!("{GRANT}authorize = \"polkit\"\n"))
    })?;
    let container = container_of(MALLORY)?;
    ensure_refused("NotAuthorized", &["polkit's consent", "does not answer"], || {
        attach(MALLORY, &container, "web", &["rootful0"], &[])
    })?;
    let checked = MALLORY.succeed(&["policy", "check"])?;
    ensure!(checked.contains("polkit") && checked.contains("60-mallory.toml"), "{checked}");
    Ok(())
}

fn others_containers(sandbox: &Sandbox) -> Result<()> {
    let _system = System::start(sandbox)?;
    let container = container_of(ALICE)?;
    ALICE.set_up(&container, "web", "")?;
    let alices = DetachOptions { owner: Some(ALICE.uid()), container_id: None };
    let may_not = ["user 10003 may not detach", "user 10001"];
    ensure_refused("NotAuthorized", &may_not, || MALLORY.detach("web", &alices))?;
    ensure_refused("NotAuthorized", &may_not, || MALLORY.detach("no-such", &alices))?;
    ensure_refused("NotAuthorized", &may_not, || {
        MALLORY.on_bus(async |connection| {
            let manager = ManagerProxy::new(&connection).await?;
            let outcome = manager.detach_all(&alices.clone().to_dictionary()).await;
            Ok(outcome.map_err(|error| Refusal::from(&error)))
        })
    })?;
    ensure_refused("NotAuthorized", &may_not, || {
        MALLORY.on_bus(async |connection| {
            let attachments = objects::attachments(&connection).await?;
            let (path, _) = attachments.first().context("no attachment")?;
            let attachment = AttachmentProxy::new(&connection, path).await?;
            Ok(attachment.detach().await.map_err(|error| Refusal::from(&error)))
        })
    })?;
    ensure_refused("NamespaceRefused", &[], || {
        MALLORY.on_bus(async |connection| {
            let manager = ManagerProxy::new(&connection).await?;
            let namespace = fd(&container)?;
            let outcome = manager.detach_namespace(zbus::Fd::from(&namespace)).await;
            Ok(outcome.map_err(|error| Refusal::from(&error)))
        })
    })?;
    // An owner that is no number is none.
    let owner = OwnedVariant::try_from(Variant::from("10003"))?;
    ensure_refused("InvalidArgument", &["owner"], || {
        MALLORY.on_bus(async |connection| {
            let manager = ManagerProxy::new(&connection).await?;
            let options = HashMap::from([("owner".to_owned(), owner)]);
            let outcome = manager.detach("web", &options).await;
            Ok(outcome.map_err(|error: WireError| Refusal::from(&error)))
        })
    })?;
    ALICE.tear_down("web")
}
