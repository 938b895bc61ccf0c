use super::*;

#[test]
fn reads_a_header() {
    let case = Case::parse(
        "; Adds.\n; mode: long64\n; needs: avx2 fma\n; in: rax=0x10 xmm3=0xff00\n; in: r15=3\n\
         ; out: rax=19 mem16[0x20000]=0xbeef flags=CF,ZF ignore=AF\n hlt\n",
    )
    .unwrap();
    assert_eq!(case.mode, Mode::Long64);
    assert_eq!(case.needs, ["avx2", "fma"]);
    assert_eq!(case.inputs.len(), 3);
    assert_eq!(case.inputs[1].0, Place::Xmm(3));
    assert_eq!(case.inputs[1].1[..2], [0, 0xff]);
    assert_eq!(case.outputs[0].0, Place::General(0));
    assert_eq!(low(&case.outputs[0].1), 19);
    assert_eq!(case.outputs[1].0, Place::Memory(2, 0x2_0000));
    let (wanted, counted) = case.flags.unwrap();
    assert_eq!(wanted, rflags::CF | rflags::ZF);
    assert_eq!(counted, rflags::STATUS & !rflags::AF);
}

#[test]
fn reads_a_trap() {
    let case = Case::parse("; mode: real16\n; out: trap=GP error=0x18 at=0x8003\n").unwrap();
    let trap = case.trap.unwrap();
    assert_eq!(
        (trap.vector, trap.error, trap.at),
        (13, Some(0x18), Some(0x8003))
    );
}

#[test]
fn says_what_is_wrong() {
    for (header, said) in [
        ("; out: rax=1\n", "no mode"),
        ("; mode: long64\n", "nothing that comes out"),
        ("; mode: vm86\n", "\"vm86\""),
        ("; mode: long64\n; out: raz=1\n", "\"raz\""),
        ("; mode: long64\n; out: rax=0x\n", "no number"),
        ("; mode: long64\n; out: rax\n", "no '='"),
        ("; mode: long64\n; out: flags=XF\n", "\"XF\""),
        ("; mode: long64\n; out: mem24[0]=1\n", "mem24"),
    ] {
        let error = Case::parse(header).unwrap_err();
        assert!(error.contains(said), "{error}");
    }
}
