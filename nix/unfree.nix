# The packages without a free licence that the toolchain may have: those of CUDA, and no others.
{ lib }:
package:
let
  licence = package.meta.license or [ ];
  allowed = licence: licence.free or true || licence.shortName or "" == "CUDA EULA";
in
# Newer nixpkgs can say that several licences hold at once, or one of several.
if licence ? licenseType then
  lib.licenses.evaluateProperty allowed true licence
else
  lib.all allowed (lib.toList licence)
