"""Options that several commands have: what a guest is made of."""

from pathlib import Path
from typing import Annotated

import typer

from innkeeper.machine import EngineChoice, UsbController
from innkeeper.services import images
from innkeeper.services.definition import RestartPolicy


def complete_image(incomplete: str) -> list[str]:
    return [name for name in images.names() if name.startswith(incomplete)]


Image = Annotated[
    str | None,
    typer.Argument(
        help="Image to boot, such as debian, or a container's: oci:DIRECTORY[:TAG], "
        "oci-archive:FILE[:TAG] or docker-archive:FILE[:TAG].",
        metavar="IMAGE",
        autocompletion=complete_image,
    ),
]
GuestCommand = Annotated[
    list[str] | None,
    typer.Argument(
        help="Command to run in the guest, after --. Without: a shell.", metavar="COMMAND"
    ),
]
Entrypoint = Annotated[
    str | None,
    typer.Option(
        metavar="PROGRAM",
        help="What a container's image runs before its command, in place of its own; an empty one "
        "is none.",
    ),
]
Cpus = Annotated[int, typer.Option(metavar="COUNT", help="Virtual processors.")]
MaxCpus = Annotated[
    int | None,
    typer.Option(metavar="N", help="To how many CPUs it can grow while it runs: inn set --cpus."),
]
MaxMemory = Annotated[
    str | None,
    typer.Option(
        metavar="SIZE", help="To how much memory it can grow while it runs: inn set --memory."
    ),
]
Memory = Annotated[str, typer.Option(metavar="SIZE", help="Guest memory, such as 512M or 2G.")]
Engine = Annotated[EngineChoice, typer.Option(help="How guest instructions run; see inn doctor.")]
CpuModel = Annotated[
    str,
    typer.Option(
        metavar="MODEL",
        help="CPU that the guest sees: MODEL,+FEATURE,-FEATURE,vendor=amd, all but the first "
        "optional.",
    ),
]
Disks = Annotated[
    list[str] | None,
    typer.Option(
        metavar="PATH",
        help="Disk image: raw, qcow2, or vmdk, vdi, vhd and vhdx, which are only read; "
        "or an NBD server's URI. After it "
        "may follow ,ro or ,temporary, ,format=FORMAT, ,trust-backing for an image that may "
        "name files outside its directory, ,bus=nvme, ,bus=sata or ,bus=usb, and with firmware "
        ",bus=ide. "
        "Repeatable.",
    ),
]
Devices = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME",
        help="Python device: a built-in one, module:factory or none. Repeatable.",
    ),
]
Network = Annotated[
    str,
    typer.Option(
        metavar="NETWORK",
        help="user: by the host's own connections. After it may follow ,host (and to the host's "
        "own services), ,isolated (to nothing else), ,tftp=DIRECTORY and ,bootfile=NAME (what it "
        "boots from the network). Or one that guests share, see inn network; tap=INTERFACE; none. "
        "With ,model=e1000 or rtl8139 the card is one of the old world.",
    ),
]
Publish = Annotated[
    list[str] | None,
    typer.Option(
        "--publish",
        "-p",
        metavar="PORT",
        help="A port of the host that leads to one of the guest, such as 8080:80, "
        "127.0.0.1:8080:80 or 5353:53/udp. Repeatable.",
    ),
]
PublishAll = Annotated[
    bool,
    typer.Option(
        "--publish-all",
        "-P",
        help="Publish each port that a container's image exposes at a free one of the host's; "
        "inn inspect shows which.",
    ),
]
Rules = Annotated[
    list[str] | None,
    typer.Option(
        "--rule",
        metavar="RULE",
        help="What may come to the guest or leave it, such as 'in accept tcp port 22' or 'out drop "
        "to 10.0.0.0/8'; the first that fits decides. See inn network rule. Repeatable.",
    ),
]
FirewallDefault = Annotated[
    str,
    typer.Option(
        "--firewall", metavar="DEFAULT", help="What holds where no rule fits: in=drop,out=accept."
    ),
]
Folders = Annotated[
    list[str] | None,
    typer.Option(
        "--volume",
        "-v",
        metavar="FOLDER",
        help="A folder of the host in the guest, such as ./src:/src or ./src:/src:ro. After the "
        "last colon may also stand uid=1000: whom it belongs to there. Repeatable.",
    ),
]
Display = Annotated[
    str,
    typer.Option(
        metavar="DISPLAY",
        help="A screen: WIDTHxHEIGHT in pixels, as 1024x768; virtio or vga, the cards that show "
        "it; both, as virtio,1280x800; none. After it may follow ,memory=SIZE and ,rom=FILE.",
    ),
]
Vnc = Annotated[
    str | None,
    typer.Option(
        metavar="HOST:PORT",
        help="Where VNC viewers find the screen, beside inn view. There is no encryption without "
        "--vnc-tls.",
    ),
]
VncPassword = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="A file with the password that --vnc asks for."),
]
VncTls = Annotated[
    bool,
    typer.Option(
        "--vnc-tls",
        help="Let viewers at --vnc come by TLS alone (VeNCrypt), with a certificate of the "
        "guest's, whose fingerprint inn inspect has.",
    ),
]
UserData = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="For the guest's cloud-init: what it shall do, by a seed."),
]
MetaData = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="For cloud-init: meta-data of your own."),
]
NetworkConfig = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="For cloud-init: what its network cards shall be."),
]
SshKeys = Annotated[
    list[Path] | None,
    typer.Option(
        metavar="FILE",
        help="For cloud-init: a public key that may log in. Without, a guest that stays gets one "
        "of its own, for inn ssh. Repeatable.",
    ),
]
Hostname = Annotated[
    str, typer.Option(metavar="NAME", help="What the guest calls itself, if not by its name.")
]
CloudInit = Annotated[
    bool,
    typer.Option("--cloud-init", help="A seed for cloud-init, with a name and a key alone."),
]
CpuLimit = Annotated[
    str | None,
    typer.Option(
        metavar="SHARE",
        help="Processor time at most: 150%, or 1.5, is all of one and half of another; none.",
    ),
]
CpuShares = Annotated[
    int | None,
    typer.Option(
        metavar="SHARES", help="Part among others when all want the processors; 1024 without."
    ),
]
Cpuset = Annotated[
    str | None,
    typer.Option(metavar="CPUS", help="Processors of the host to run on, such as 0-3,6; all."),
]
MemoryMin = Annotated[
    str | None,
    typer.Option(metavar="SIZE", help="Memory that the host promises to a guest that stays."),
]
MergeMemory = Annotated[
    bool,
    typer.Option(
        "--merge-memory",
        help="Let the host have equal pages of this guest and others once (KSM). Guests that share "
        "so can find out that another has some page.",
    ),
]
DiskLimit = Annotated[
    str | None,
    typer.Option(
        metavar="RATE",
        help="What its disks move in a second at most: bytes such as 50M, 1000iops, or both with a "
        "comma between; none.",
    ),
]
NetworkLimit = Annotated[
    str | None,
    typer.Option(
        metavar="RATE",
        help="What its network moves in a second and direction at most: bytes such as 10M, "
        "5000pps, or both; none.",
    ),
]
Vsock = Annotated[
    str | None,
    typer.Option(
        metavar="PATH",
        help="The host's socket of the guest's vsock device, as Firecracker has it: connect there "
        "and say CONNECT PORT. After it may follow ,cid=3. A guest that stays has one in its "
        "directory without this; none: no device.",
    ),
]
Sound = Annotated[
    str,
    typer.Option(
        metavar="SOUND",
        help="A sound card: wav=FILE gets what it plays; ,model=ac97 (as without), virtio, sb16, "
        "or speaker for the PC speaker; none.",
    ),
]
Parallel = Annotated[
    str,
    typer.Option(
        metavar="FILE",
        help="A parallel port (LPT1): what is printed there is appended to FILE, until it has 64M; "
        "after it may follow ,limit=SIZE. none: no port.",
    ),
]
Tpm = Annotated[
    bool,
    typer.Option(
        "--tpm",
        help="A TPM 2.0, by swtpm. A guest that stays keeps what it holds; of any other that is "
        "gone with it.",
    ),
]
Usb = Annotated[
    bool,
    typer.Option(
        "--usb",
        help="A tablet and a keyboard by USB, for systems without virtio drivers.",
    ),
]
UsbControllers = Annotated[
    UsbController | None,
    typer.Option(
        "--usb-controller",
        help="As --usb, and what the guest reaches USB by, disks of ,bus=usb as well: xhci (as "
        "without), or uhci, USB 1 for systems from before 2012.",
    ),
]
Kernel = Annotated[
    Path | None,
    typer.Option(metavar="PATH", help="Kernel of your own: bzImage, ELF (PVH) or multiboot."),
]
Firmware = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="Firmware that boots what it finds: seabios, ovmf, or a file of your own. With "
        "--boot, --cdrom or --floppy it is seabios unless said.",
    ),
]
Boot = Annotated[
    str | None,
    typer.Option(
        metavar="DEVICE",
        help="What firmware boots from: disk, cd, floppy or net; several with commas, the first "
        "choice first.",
    ),
]
Cdrom = Annotated[
    str | None,
    typer.Option(
        metavar="FILE[,bus=sata]",
        help="Image of a CD or DVD, which firmware boots from if nothing else is said.",
    ),
]
Floppy = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Image of a floppy disk, which is written to if it can be."),
]
FirmwareVariables = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="Where firmware's variables are kept; made when it is missing. A guest that stays "
        "keeps them without this.",
    ),
]
FirmwareLog = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Gets what firmware says of what it does; see inn logs."),
]
Initrds = Annotated[
    list[Path] | None, typer.Option(metavar="PATH", help="Initrd for --kernel. Repeatable.")
]
Append = Annotated[str, typer.Option(metavar="TEXT", help="Added to the kernel command line.")]
Restart = Annotated[
    RestartPolicy,
    typer.Option(help="When a guest that stays is started again after it ended by itself."),
]
Jail = Annotated[
    bool,
    typer.Option(
        "--jail/--no-jail",
        help="Whether the guest's process gives up what it has no need of.",
    ),
]
Autostart = Annotated[
    bool, typer.Option("--autostart", help="Start a guest that stays with inn start --autostart.")
]
