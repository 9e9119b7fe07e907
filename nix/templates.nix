# `nix flake init --template` copies these.
rec {
  rig = {
    path = ../templates/rig;
    description = "A rig of one's own, or twenty that differ by their names and keys";
    welcomeText = ''
      Put your ssh key into `flake.nix`, then read `README.md`.
    '';
  };
  default = rig;
}
