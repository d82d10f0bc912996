# rootful-net: see README.md. `make test` and `make demo` install what they need with apt; nothing else does.

PREFIX ?= /usr
DESTDIR ?=
LIBEXECDIR = $(PREFIX)/libexec
DATADIR = $(PREFIX)/share
UNITDIR = $(PREFIX)/lib/systemd/system
HOOKSDIR = $(DATADIR)/containers/oci/hooks.d
MODULESDIR = $(DATADIR)/containers/containers.conf.modules
EXAMPLESDIR = $(DATADIR)/doc/rootful-net/examples
SYSUSERSDIR = $(PREFIX)/lib/sysusers.d

CARGO ?= cargo
INSTALL ?= install
RELEASE = target/release
BINARIES = $(RELEASE)/rootful-netd $(RELEASE)/rootful-net $(RELEASE)/rootful-net-hook
# What the service's sandbox is put together on.
ROOT_DIRECTORIES = dev etc home lib lib64 proc root run sys sysctl/net tmp usr \
    var/lib/rootful-net var/lib/sss/mc var/lib/sss/pipes var/run/nscd var/run/nslcd var/tmp
SCENARIOS = $(sort $(wildcard tests/machine/scenarios/*.sh))

.PHONY: all build install uninstall test test-install test-unit test-netns test-machine test-hardening soak fuzz selinux lint deny demo setup generated clean

all: build

build:
	$(CARGO) build --release --locked -p rootful-netd -p rootful-net -p rootful-net-hook

$(BINARIES): build

# Manual pages and shell completions, from the command line's own definition.
generated: build
	$(CARGO) run --release --locked --quiet -p xtask -- man target/generated/man
	$(CARGO) run --release --locked --quiet -p xtask -- completions target/generated/completions

# Copies what was built; builds nothing, so that it can run as another user than the build.
install:
	$(INSTALL) -D -m 0755 $(RELEASE)/rootful-netd $(DESTDIR)$(LIBEXECDIR)/rootful-net/rootful-netd
	$(INSTALL) -D -m 0755 $(RELEASE)/rootful-net-hook $(DESTDIR)$(LIBEXECDIR)/rootful-net/rootful-net-hook
	$(INSTALL) -D -m 0755 $(RELEASE)/rootful-net $(DESTDIR)$(PREFIX)/bin/rootful-net
	$(INSTALL) -d $(ROOT_DIRECTORIES:%=$(DESTDIR)$(LIBEXECDIR)/rootful-net/root/%)
	$(INSTALL) -d $(DESTDIR)$(HOOKSDIR)
	set -e; for stage in precreate attach detach; do \
	    sed 's|@LIBEXECDIR@|$(LIBEXECDIR)|g' crates/rootful-net-hook/hooks.d/50-rootful-net-$$stage.json.in \
	        > $(DESTDIR)$(HOOKSDIR)/50-rootful-net-$$stage.json; \
	    chmod 0644 $(DESTDIR)$(HOOKSDIR)/50-rootful-net-$$stage.json; done
	$(INSTALL) -D -m 0644 dbus/io.rootful_net1.conf $(DESTDIR)$(DATADIR)/dbus-1/system.d/io.rootful_net1.conf
	$(INSTALL) -D -m 0644 dbus/io.rootful_net1.service \
	    $(DESTDIR)$(DATADIR)/dbus-1/system-services/io.rootful_net1.service
	$(INSTALL) -d $(DESTDIR)$(DATADIR)/dbus-1/interfaces $(DESTDIR)$(UNITDIR)
	$(INSTALL) -m 0644 dbus/*.xml $(DESTDIR)$(DATADIR)/dbus-1/interfaces/
	sed 's|@LIBEXECDIR@|$(LIBEXECDIR)|g' systemd/rootful-netd.service.in \
	    > $(DESTDIR)$(UNITDIR)/rootful-netd.service
	chmod 0644 $(DESTDIR)$(UNITDIR)/rootful-netd.service
	$(INSTALL) -m 0644 systemd/rootful-net-dns.service.in $(DESTDIR)$(UNITDIR)/rootful-net-dns.service
	$(INSTALL) -D -m 0644 systemd/rootful-net.user-service.conf \
	    $(DESTDIR)$(UNITDIR)/user@.service.d/50-rootful-net.conf
	$(INSTALL) -D -m 0644 systemd/rootful-net.containers.conf $(DESTDIR)$(MODULESDIR)/rootful-net
	$(INSTALL) -d $(DESTDIR)$(EXAMPLESDIR)/user $(DESTDIR)$(EXAMPLESDIR)/system
	$(INSTALL) -m 0644 systemd/examples/user/* $(DESTDIR)$(EXAMPLESDIR)/user/
	$(INSTALL) -m 0644 systemd/examples/system/* $(DESTDIR)$(EXAMPLESDIR)/system/
	$(INSTALL) -D -m 0644 systemd/rootful-net.sysusers.conf $(DESTDIR)$(SYSUSERSDIR)/rootful-net.conf
	$(INSTALL) -D -m 0644 policy/50-default.toml $(DESTDIR)$(DATADIR)/rootful-net/policy.d/50-default.toml
	$(INSTALL) -D -m 0644 policy/io.rootful-net.policy \
	    $(DESTDIR)$(DATADIR)/polkit-1/actions/io.rootful-net.policy
	$(INSTALL) -D -m 0644 policy/60-rootful-net.rules.example \
	    $(DESTDIR)$(DATADIR)/doc/rootful-net/examples/60-rootful-net.rules
	$(INSTALL) -d $(DESTDIR)$(DATADIR)/man/man1
	set -e; for page in target/generated/man/*.1; do \
	    if [ -e "$$page" ]; then $(INSTALL) -m 0644 "$$page" $(DESTDIR)$(DATADIR)/man/man1/; fi; done
	set -e; if [ -e target/generated/completions/rootful-net.bash ]; then \
	    $(INSTALL) -D -m 0644 target/generated/completions/rootful-net.bash \
	        $(DESTDIR)$(DATADIR)/bash-completion/completions/rootful-net; \
	    $(INSTALL) -D -m 0644 target/generated/completions/_rootful-net \
	        $(DESTDIR)$(DATADIR)/zsh/site-functions/_rootful-net; \
	    $(INSTALL) -D -m 0644 target/generated/completions/rootful-net.fish \
	        $(DESTDIR)$(DATADIR)/fish/vendor_completions.d/rootful-net.fish; fi

# Removes what `install` has put there. What is attached, and what is in /var/lib/rootful-net and /etc/rootful-net, stays.
uninstall:
	rm -rf $(DESTDIR)$(LIBEXECDIR)/rootful-net $(DESTDIR)$(DATADIR)/rootful-net $(DESTDIR)$(DATADIR)/doc/rootful-net
	rm -f $(DESTDIR)$(PREFIX)/bin/rootful-net $(DESTDIR)$(HOOKSDIR)/50-rootful-net-*.json
	rm -f $(DESTDIR)$(DATADIR)/dbus-1/system.d/io.rootful_net1.conf \
	    $(DESTDIR)$(DATADIR)/dbus-1/system-services/io.rootful_net1.service \
	    $(patsubst dbus/%,$(DESTDIR)$(DATADIR)/dbus-1/interfaces/%,$(wildcard dbus/*.xml))
	rm -f $(DESTDIR)$(UNITDIR)/rootful-netd.service $(DESTDIR)$(UNITDIR)/rootful-net-dns.service \
	    $(DESTDIR)$(UNITDIR)/user@.service.d/50-rootful-net.conf $(DESTDIR)$(SYSUSERSDIR)/rootful-net.conf
	rm -f $(DESTDIR)$(MODULESDIR)/rootful-net $(DESTDIR)$(DATADIR)/polkit-1/actions/io.rootful-net.policy
	rm -f $(DESTDIR)$(DATADIR)/man/man1/rootful-net*.1 $(DESTDIR)$(DATADIR)/bash-completion/completions/rootful-net \
	    $(DESTDIR)$(DATADIR)/zsh/site-functions/_rootful-net \
	    $(DESTDIR)$(DATADIR)/fish/vendor_completions.d/rootful-net.fish
	@echo 'What is attached stays, as do /var/lib/rootful-net and /etc/rootful-net; "rootful-net teardown --all" goes before this.'

# What `install` puts somewhere, `uninstall` finds.
test-install:
	set -e; layer=$$(mktemp -d); trap 'rm -rf "$$layer"' EXIT; \
	    $(MAKE) --no-print-directory install DESTDIR="$$layer" >/dev/null; \
	    $(MAKE) --no-print-directory uninstall DESTDIR="$$layer" >/dev/null; \
	    left=$$(find "$$layer" ! -type d); test -z "$$left" || { echo "left: $$left" >&2; exit 1; }

# The SELinux module, for `semodule --install target/selinux/rootful_net.pp`.
selinux:
	mkdir -p target/selinux
	checkmodule -M -m -o target/selinux/rootful_net.mod policy/selinux/rootful_net.te
	semodule_package -o target/selinux/rootful_net.pp -m target/selinux/rootful_net.mod -f policy/selinux/rootful_net.fc

# What building and testing need from Debian.
setup:
	tests/setup

test: setup
	$(MAKE) test-unit test-netns test-hardening test-machine

test-unit:
	$(CARGO) test --locked --workspace --exclude rootful-net-tests

# As root; without root every test says that it is ignored.
test-netns:
	$(CARGO) build --locked -p rootful-netd -p rootful-net -p rootful-net-hook
	$(CARGO) test --locked -p rootful-net-tests

test-hardening: build
	tests/hardening

# Half an hour, with the release build; a short one is a part of `test-netns`. The report is in target/soak.
soak: build
	ROOTFUL_NET_SOAK=full $(CARGO) test --release --locked -p rootful-net-tests --test soak
	MACHINE_ROUNDS=20 tests/machine/run --timeout 1200 concurrent-start

# Hours, and nightly Rust: not a part of `test`, which replays what was found before.
fuzz:
	tests/fuzz/run

test-machine: build generated test-install
	tests/machine/run $(SCENARIOS)

demo: setup build generated
	tests/machine/run --demo tests/machine/scenarios/session.sh

lint:
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings

deny:
	tests/deny

clean:
	$(CARGO) clean
