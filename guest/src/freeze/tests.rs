use super::places;

#[test]
fn what_is_on_a_disk_and_written_is_frozen_once() {
    let mounts = "\
21 1 254:0 / / rw,noatime shared:1 - ext4 /dev/vda rw,errors=remount-ro
22 21 0:5 / /dev rw,nosuid - devtmpfs devtmpfs rw,mode=755
23 21 254:16 / /srv/my\\040data rw master:1 - xfs /dev/vdb rw
24 21 254:0 /var /mnt rw - ext4 /dev/vda rw
25 21 254:32 / /media ro - ext4 /dev/vdc ro
26 21 254:48 / /looks ro - ext4 /dev/vdd rw
27 21 0:40 / /pool rw - btrfs /dev/vde rw,space_cache
28 21 0:41 / /net rw - nfs4 server:/x rw
nonsense
29 21 7:0 / /loop rw - ext4 /dev/loop0 rw
";
    let wanted = ["/", "/srv/my data", "/looks", "/pool", "/loop"];
    let found: Vec<String> = places(mounts).into_iter().map(|it| it.0).collect();
    assert_eq!(found, wanted);
}
