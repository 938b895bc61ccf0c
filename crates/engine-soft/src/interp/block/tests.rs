use super::{BlockCache, Decoded, MOST_KEPT, MOST_OPS, SLOT_BITS};
use crate::interp::op::Op;

fn keep(cache: &mut BlockCache, slot: usize, key: u64, count: usize) {
    let op = Op {
        imm: key,
        ..Op::NONE
    };
    cache.decoded.clear();
    cache.decoded.resize(count, op);
    let from = Decoded {
        first: None,
        second: None,
    };
    cache.keep(slot, key, from, None);
}

/// How many ops of its own the block in `slot` has.
fn own(cache: &BlockCache, slot: usize) -> usize {
    let block = cache.block(slot).expect("a block");
    let first = block.first as usize;
    let ops = &cache.ops[first..first + usize::from(block.count)];
    ops.iter().filter(|op| op.imm == block.key).count()
}

#[test]
fn a_block_has_its_own_ops_and_all_of_them_are_bounded() {
    let mut cache = BlockCache::new();
    for n in 0..400_000usize {
        // Each slot gets blocks of all sizes by turns.
        let (slot, count) = (n * 7 % (1 << SLOT_BITS), 1 + n * 5 % MOST_OPS);
        keep(&mut cache, slot, n as u64, count);
        assert_eq!(own(&cache, slot), count);
        assert!(cache.ops.len() <= MOST_KEPT && cache.blocks.len() <= 1 << SLOT_BITS);
    }
}

#[test]
fn a_block_in_another_s_room_leaves_its_neighbours_alone() {
    let mut cache = BlockCache::new();
    for slot in 0..3 {
        keep(&mut cache, slot, slot as u64, 8);
    }
    for (key, count) in [(10, 3), (11, 8), (12, 9)] {
        keep(&mut cache, 1, key, count);
        assert_eq!([0, 1, 2].map(|slot| own(&cache, slot)), [8, count, 8]);
    }
}
