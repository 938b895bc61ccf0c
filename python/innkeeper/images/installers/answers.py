"""Answers to what debian-installer would ask: a preseed file.

Spec: Debian GNU/Linux Installation Guide, "Automating the installation using preseeding".
"""

from dataclasses import dataclass
from typing import Final

from innkeeper.errors import InvalidInput
from innkeeper.images.installers.mirror import Mirror

# What holds of every installation: one partition for all, and nothing that would be asked.
_ALWAYS: Final = """\
d-i debian-installer/locale string en_US.UTF-8
d-i keyboard-configuration/xkb-keymap select us
d-i netcfg/choose_interface select auto
d-i netcfg/get_domain string
d-i hw-detect/load_firmware boolean false
d-i clock-setup/utc boolean true
d-i clock-setup/ntp boolean false
d-i time/zone string UTC
d-i passwd/root-login boolean true
d-i passwd/make-user boolean false
d-i partman-auto/method string regular
d-i partman-auto/choose_recipe select atomic
d-i partman-partitioning/confirm_write_new_label boolean true
d-i partman/choose_partition select finish
d-i partman/confirm boolean true
d-i partman/confirm_nooverwrite boolean true
d-i partman/mount_style select uuid
d-i partman-efi/non_efi_system boolean true
d-i base-installer/install-recommends boolean false
d-i apt-setup/enable-source-repositories boolean false
d-i apt-setup/disable-cdrom-entries boolean true
d-i apt-setup/cdrom/set-first boolean false
tasksel tasksel/first multiselect
d-i pkgsel/run_tasksel boolean false
d-i pkgsel/upgrade select none
d-i pkgsel/update-policy select none
popularity-contest popularity-contest/participate boolean false
d-i grub-installer/only_debian boolean true
d-i grub-installer/with_other_os boolean false
d-i grub-installer/bootdev string default
d-i grub-installer/force-efi-extra-removable boolean true
d-i cdrom-detect/eject boolean false
d-i finish-install/reboot_in_progress note
d-i debian-installer/exit/poweroff boolean true
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """What one installation is asked. Without a `mirror`, a disc has all packages."""

    hostname: str
    password: str
    mirror: Mirror | None = None
    packages: tuple[str, ...] = ()


def preseed(answers: Answers, own: str = "") -> str:
    """All answers as a file. Those of `own` come last, so they are what counts.

    Raises:
        InvalidInput: for a password that a line of such a file cannot hold.
    """
    if not answers.password or not answers.password.isprintable():
        raise InvalidInput("a password has one line of characters that can be printed")
    lines = [
        f"d-i netcfg/get_hostname string {answers.hostname}",
        f"d-i netcfg/hostname string {answers.hostname}",
        f"d-i passwd/root-password password {answers.password}",
        f"d-i passwd/root-password-again password {answers.password}",
    ]
    if answers.packages:
        lines.append(f"d-i pkgsel/include string {' '.join(answers.packages)}")
    if (mirror := answers.mirror) is not None:
        lines += [
            "d-i mirror/country string manual",
            f"d-i mirror/protocol string {mirror.protocol}",
            f"d-i mirror/{mirror.protocol}/hostname string {mirror.host}",
            f"d-i mirror/{mirror.protocol}/directory string {mirror.directory}",
            f"d-i mirror/{mirror.protocol}/proxy string {mirror.proxy}",
            f"d-i mirror/suite string {mirror.suite}",
            f"d-i apt-setup/services-select multiselect {', '.join(_services(mirror))}",
        ]
        if mirror.security:
            lines.append(f"d-i apt-setup/security_host string {mirror.security}")
    else:
        lines += ["d-i apt-setup/use_mirror boolean false"]
    return _ALWAYS + "\n".join(lines) + "\n" + own


def _services(mirror: Mirror) -> list[str]:
    """What the host takes. One that the installer cannot reach, it would ask about."""
    security = [] if mirror.security is None else ["security"]
    return security + (["updates"] if mirror.updates else [])
