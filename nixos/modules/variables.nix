# The values of all placeholders in rigappliance/render/units: the twin of `variables` in
# rigappliance/render/systemd.py, with which a test compares it.
{
  lib,
  settings,
  configFile,
  program,
  systemctl,
  needs,
}:
let
  inherit (import ./lib.nix { inherit lib; })
    argument
    isBelow
    memoryMax
    plain
    quoted
    ;

  state = settings.state_dir;
  model = settings.model.path;
  key = settings.server.api_key_file;
  swapFile = settings.memory.swap_file;

  inHome =
    path:
    lib.any (home: isBelow home path) [
      "/home"
      "/root"
      "/run/user"
    ];
  # An environment as a whole: the interpreter alone would find no library.
  needed = [
    model
    (dirOf (dirOf settings.engine.python))
    (dirOf (dirOf program))
    configFile
  ];
  hidden = lib.filter (path: inHome path && !isBelow state path) (lib.unique needed);

  # None is null: the entry of the table is left out.
  joined = words: if words == [ ] then null else lib.concatStringsSep " " words;
  only = condition: value: if condition then value else null;
in
{
  model_name = plain settings.model.name;
  repository = plain settings.model.repository;
  needs = joined needs;
  paths = joined (
    map quoted [
      state
      model
    ]
  );
  program = argument program;
  arguments = joined (
    map argument [
      "--config"
      configFile
      "--profile"
      settings.profile
    ]
  );
  compact_flag = argument "${state}/compact";
  inherit systemctl;
  user = "rigappliance";
  memory_max = memoryMax settings.memory.max;
  state_directory = only (dirOf state == "/var/lib") (quoted (baseNameOf state));
  working_directory = plain state;
  home_environment = quoted "HOME=${state}";
  writable_paths = only (dirOf state != "/var/lib") (quoted state);
  model_writable = only (!isBelow state model) (quoted model);
  protect_home = if hidden != [ ] || inHome state then "tmpfs" else "yes";
  home_read_only = joined (map quoted hidden);
  home_state = only (inHome state) (quoted state);
  home_model = only (lib.elem model hidden) (quoted model);
  key_credential = only (key != null) "api-key:${plain (toString key)}";
  key_environment = only (key != null) "RIGAPPLIANCE_SERVER__API_KEY_FILE=%d/api-key";
  swap_file = plain swapFile;
  swap_directory = quoted (dirOf swapFile);
}
