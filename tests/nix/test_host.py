"""The host that `nixosConfigurations.rig` builds, and twenty of its kind."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from tests.nix.bench import ROOT, evaluate

TEMPLATE = ROOT / "templates/rig"


def test_the_rig_is_a_whole_system() -> None:
    """Every assertion of NixOS holds, and the system comes down to one derivation."""
    found = evaluate(
        """{
          refused = allRefused [ host ];
          warned = (config [ host ]).warnings;
          derivation = instantiate (config [ host ]).system.build.toplevel;
        }"""
    )
    assert (found["refused"], found["warned"]) == ([], [])
    assert re.fullmatch(r"/nix/store/\w{32}-nixos-system-rig-.*\.drv", found["derivation"])


def test_it_is_reached_by_ssh_with_a_key_and_in_no_other_way() -> None:
    found = evaluate(
        """
        let evaluated = config [ host ]; in {
          ports = { inherit (evaluated.networking.firewall) enable allowedTCPPorts allowedUDPPorts; };
          ssh = evaluated.services.openssh.settings;
          passwords = lib.attrNames (lib.filterAttrs (_: user:
            user.password != null || user.hashedPassword != null || user.initialPassword != null
            || user.initialHashedPassword != null || user.passwordFile != null) evaluated.users.users);
          keys = lib.attrNames (
            lib.filterAttrs (_: user: user.openssh.authorizedKeys.keys != [ ]) evaluated.users.users);
          mutable = evaluated.users.mutableUsers;
          groups = evaluated.users.users.operator.extraGroups;
        }"""
    )
    assert found["ports"] == {"enable": True, "allowedTCPPorts": [22], "allowedUDPPorts": []}
    assert found["ssh"]["PasswordAuthentication"] is False
    assert found["ssh"]["KbdInteractiveAuthentication"] is False
    assert found["ssh"]["PermitRootLogin"] == "no"
    assert found["keys"] == ["operator"]
    # The bench's NixOS has an empty password for nobody but root's console, which a declared one replaces.
    assert set(found["passwords"]) <= {"root"}
    assert found["mutable"] is False
    assert set(found["groups"]) == {"wheel", "rigappliance", "systemd-journal"}


def test_without_a_key_the_installer_s_password_stays_and_it_is_said() -> None:
    found = evaluate(
        """
        let evaluated = config [ host { users.users.operator.openssh.authorizedKeys.keys = lib.mkForce [ ]; } ]; in {
          inherit (evaluated) warnings;
          inherit (evaluated.users) mutableUsers;
        }"""
    )
    assert found["mutableUsers"] is True
    assert len(found["warnings"]) == 1
    assert "no user of the group wheel has an ssh key" in found["warnings"][0]


def test_rigs_of_the_template_differ_by_their_names_and_keys_alone(tmp_path: Path) -> None:
    """As a user would write twenty of them."""
    one = "rig-01 = [ ];"
    flake = (TEMPLATE / "flake.nix").read_text(encoding="utf-8")
    assert flake.count(one) == 1
    twenty = " ".join(f'rig-{number:02} = [ "ssh-ed25519 AAAA key-{number}" ];' for number in range(1, 21))
    (tmp_path / "flake.nix").write_text(flake.replace(one, twenty), encoding="utf-8")
    shutil.copy(TEMPLATE / "configuration.nix", tmp_path)
    found = evaluate(
        f"""
        let
          rigs = ((import {tmp_path}/flake.nix).outputs {{
            self = {{ }};
            nixpkgs.lib = lib // {{ nixosSystem = {{ modules }}: system modules // {{ inherit modules; }}; }};
            rigappliance.nixosModules.rig = rig;
          }}).nixosConfigurations;
          seen = {{ config, modules, ... }}: {{
            name = config.networking.hostName;
            inherit (config.users.users.operator.openssh.authorizedKeys) keys;
            said = findings modules;
            rest = builtins.hashString "sha256" (builtins.toJSON [
              (unitTexts modules)
              config.services.rigappliance.settings
              config.fileSystems
              config.boot.kernelParams
            ]);
          }};
        in {{ first = seen rigs.rig-01; last = seen rigs.rig-20; names = lib.attrNames rigs; }}"""
    )
    assert found["names"] == [f"rig-{number:02}" for number in range(1, 21)]
    first, last = found["first"], found["last"]
    assert (first["name"], first["keys"]) == ("rig-01", ["ssh-ed25519 AAAA key-1"])
    assert (last["name"], last["keys"]) == ("rig-20", ["ssh-ed25519 AAAA key-20"])
    assert first["rest"] == last["rest"]
    assert first["said"] == {"refused": [], "warned": []}


@pytest.mark.parametrize("release", ["26.05", "26.11"])
def test_the_journal_is_limited_before_and_after_its_options_changed(release: str) -> None:
    """NixOS 26.11 takes ``settings`` in place of text."""
    newer = "{ options.services.journald.settings = lib.mkOption { type = lib.types.attrs; default = { }; }; }"
    modules = "[ host ]" if release == "26.05" else f"[ host ({newer}) ]"
    found = evaluate(
        f"""
        let inherit ((config {modules}).services) journald; in {{
          inherit (journald) extraConfig;
          settings = journald.settings or {{ }};
        }}"""
    )
    if release == "26.05":
        limits = dict(line.split("=") for line in found["extraConfig"].splitlines())
    else:
        assert found["extraConfig"] == ""
        limits = {name: str(value) for name, value in found["settings"]["Journal"].items()}
    assert limits["SystemMaxUse"] == "1G"
    assert int(limits["RateLimitBurst"]) > 10_000


def test_the_caches_of_cuda_packages_are_trusted() -> None:
    found = evaluate("(config [ host ]).nix.settings")
    assert found["extra-substituters"] == ["https://cache.nixos-cuda.org"]
    keys = found["extra-trusted-public-keys"]
    assert [key.partition(":")[0] for key in keys] == ["cache.nixos-cuda.org"]
    assert all(re.fullmatch(r"[A-Za-z0-9+/]{43}=", key.partition(":")[2]) for key in keys)
    assert "flakes" in found["experimental-features"]


# --- who may reach what ----------------------------------------------------

EXPOSED = {
    "the rig": ("", [22]),
    "the API": (
        'openFirewall = true; settings.server = { host = "0.0.0.0"; port = 9000; api_key_file = "/etc/rig/key"; };',
        [22, 9000],
    ),
    "monitored": ("monitoring.enable = true;", [22]),
    "monitored from outside": ("monitoring = { enable = true; openFirewall = true; };", [22, 9090]),
}


def test_ports_are_closed_unless_asked_for() -> None:
    entries = " ".join(f'"{name}".services.rigappliance = {{ {text} }};' for name, (text, _) in EXPOSED.items())
    found = evaluate(
        f"""
        lib.mapAttrs (_: extra: let evaluated = config [ host extra ]; in {{
          ports = evaluated.networking.firewall.allowedTCPPorts;
          exporters = map (name: let exporter = evaluated.services.prometheus.exporters.${{name}}; in
            [ exporter.enable exporter.listenAddress exporter.openFirewall ]) [ "node" "nvidia-gpu" ];
          prometheus = [ evaluated.services.prometheus.enable evaluated.services.prometheus.listenAddress ];
        }}) {{ {entries} }}"""
    )
    assert {name: sorted(seen["ports"]) for name, seen in found.items()} == {
        name: ports for name, (_, ports) in EXPOSED.items()
    }
    assert [exporter[0] for exporter in found["the rig"]["exporters"]] == [False, False]
    assert found["monitored"]["exporters"] == [[True, "127.0.0.1", False]] * 2
    assert found["monitored"]["prometheus"] == [True, "127.0.0.1"]
    assert found["monitored from outside"]["exporters"] == [[True, "0.0.0.0", True]] * 2
    assert found["monitored from outside"]["prometheus"] == [True, "0.0.0.0"]


def test_prometheus_asks_where_the_engine_listens() -> None:
    addresses = {"127.0.0.1": "127.0.0.1:8000", "0.0.0.0": "127.0.0.1:8000", "::1": "[::1]:8000", "::": "[::1]:8000"}
    entries = " ".join(f'"{host}".settings.server.host = "{host}";' for host in addresses)
    found = evaluate(
        f"""
        lib.mapAttrs (_: extra: map (job: [ job.job_name (lib.head job.static_configs).targets ])
          (config [ host {{ services.rigappliance.monitoring.enable = true; }}
                    {{ services.rigappliance = extra; }} ]).services.prometheus.scrapeConfigs)
          {{ {entries} }}"""
    )
    others = [["node", ["127.0.0.1:9100"]], ["nvidia-gpu", ["127.0.0.1:9835"]]]
    assert found == {host: [["rigappliance", [target]], *others] for host, target in addresses.items()}
