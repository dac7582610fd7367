use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::time::Duration;

use proptest::prelude::*;

use super::*;

const LIMITS: Limits = Limits { all: MOST_BYTES, each: MOST_BYTES_EACH };
const HOST: Option<u64> = None;

fn meta(keep: &Keep, container: Option<u64>, node: u64) -> Meta {
    Meta {
        fh: keep.new_fh().0,
        node,
        owner: container.map(Owner::made_up),
        opened_by: 2,
        opened_at: 3,
        refreshed_by: 0,
        is_good: true,
        what: What::File { is_linux32: false },
    }
}

fn open(keep: &Keep, container: Option<u64>, node: u64, content: &[u8]) -> Meta {
    let meta = meta(keep, container, node);
    keep.open(&meta, content);
    meta
}

fn again(keep: &Keep, limits: Limits) -> Keep {
    Keep::adopt_with(keep.as_fd().try_clone_to_owned().unwrap(), limits).unwrap()
}

/// What the next process finds open, by handle.
fn found(keep: &Keep) -> Vec<(u64, Vec<u8>)> {
    let mut all: Vec<_> =
        keep.adopted(|_| true).into_iter().map(|one| (one.meta.fh, one.content)).collect();
    all.sort();
    all
}

fn after_crash(keep: &Keep) -> Vec<(u64, Vec<u8>)> {
    found(&again(keep, LIMITS))
}

#[test]
fn what_is_open_is_found_and_what_is_closed_is_not() {
    let keep = Keep::create().unwrap();
    let one = open(&keep, Some(1), 10, b"first");
    let two = open(&keep, HOST, 11, b"");
    let three = open(&keep, Some(1), 10, b"third");
    keep.refresh(&two, b"second");
    keep.close(Fh(three.fh));
    let expected = [(one.fh, b"first".to_vec()), (two.fh, b"second".to_vec())];
    assert_eq!(after_crash(&keep), expected);
    let next = again(&keep, LIMITS);
    assert_eq!(
        next.adopted(|_| true).into_iter().map(|one| one.meta).max_by_key(|meta| meta.fh),
        Some(two.clone())
    );
    assert!(next.adopted(|_| true).is_empty(), "told once");
    next.close(Fh(two.fh));
    let four = open(&next, HOST, 12, b"fourth");
    assert!(four.fh > three.fh && next.is_of_predecessor(Fh(two.fh)));
    assert!(!next.is_of_predecessor(Fh(four.fh)));
    let expected = [(one.fh, b"first".to_vec()), (four.fh, b"fourth".to_vec())];
    assert_eq!(after_crash(&next), expected);
}

#[test]
fn content_grows_and_shrinks() {
    let keep = Keep::create().unwrap();
    let meta = open(&keep, Some(1), 10, b"small");
    for length in [10, 5000, 100_000, 1_000_000, 4_000_000, 3, 70_000] {
        let content: Vec<u8> = (0..length).map(|at: u32| at.to_le_bytes()[0]).collect();
        keep.refresh(&meta, &content);
        assert_eq!(after_crash(&keep), [(meta.fh, content)]);
    }
    keep.close(Fh(meta.fh));
    assert_eq!(after_crash(&keep), []);
}

#[test]
fn content_that_is_too_large_is_not_known_rather_than_wrong() {
    let keep = Keep::create().unwrap();
    let meta = open(&keep, Some(1), 10, b"small");
    keep.refresh(&meta, &vec![7; 5 << 20]);
    assert_eq!(after_crash(&keep), []);
    keep.refresh(&meta, b"small again");
    keep.close(Fh(meta.fh));
    assert_eq!(after_crash(&keep), []);
}

#[test]
fn a_container_has_its_share_and_no_more() {
    let limits = Limits { all: 16 * 8192, each: 4 * 8192 };
    let keep = Keep::create_with(limits).unwrap();
    let hog: Vec<_> = (0..100).map(|node| open(&keep, Some(1), node, b"hog")).collect();
    let other = open(&keep, Some(2), 5, b"other");
    let host = open(&keep, HOST, 5, b"host");
    let known: Vec<_> = found(&again(&keep, limits)).into_iter().map(|one| one.0).collect();
    let expected = [hog[0].fh, hog[1].fh, hog[2].fh, hog[3].fh, other.fh, host.fh];
    assert_eq!(known, expected);
    keep.close(Fh(hog[0].fh));
    let next = open(&keep, Some(1), 200, b"hog");
    assert!(found(&again(&keep, limits)).iter().any(|one| one.0 == next.fh));
}

#[test]
fn closed_files_give_way_and_open_ones_do_not() {
    let limits = Limits { all: 8 * 8192, each: 8 * 8192 };
    let keep = Keep::create_with(limits).unwrap();
    let held = open(&keep, Some(1), 1, b"held");
    for node in 2..100 {
        let closed = open(&keep, Some(2), node, b"closed");
        keep.close(Fh(closed.fh));
    }
    assert_eq!(keep.last_good(&meta(&keep, Some(2), 99)).as_deref(), Some(&b"closed"[..]));
    assert_eq!(keep.last_good(&meta(&keep, Some(2), 92)), None, "the oldest went first");
    assert_eq!(keep.last_good(&meta(&keep, Some(1), 99)), None, "another container");
    assert_eq!(keep.last_good(&held).as_deref(), Some(&b"held"[..]));
    // Larger ones take the memory of several smaller ones.
    let large = open(&keep, Some(1), 3, &[1; 10_000]);
    let known = found(&again(&keep, limits));
    assert_eq!(known, [(held.fh, b"held".to_vec()), (large.fh, vec![1; 10_000])]);
    let blocks = keep.file.metadata().unwrap().blocks();
    assert!(blocks * 512 <= limits.all + 8192, "{blocks} blocks");
    assert!(open_count(&keep, 100) < 8);
}

fn open_count(keep: &Keep, tries: u64) -> usize {
    (0..tries).for_each(|node| drop(open(keep, Some(3), node, b"many")));
    after_crash(keep).len() - 2
}

#[test]
fn last_good_content_is_the_newest_and_survives() {
    let keep = Keep::create().unwrap();
    let first = open(&keep, Some(1), 1, b"first");
    let second = open(&keep, Some(1), 1, b"second");
    keep.close(Fh(second.fh));
    keep.close(Fh(first.fh));
    let bad = Meta { is_good: false, ..meta(&keep, Some(1), 1) };
    keep.open(&bad, b"the host's");
    keep.close(Fh(bad.fh));
    for keep in [&keep, &again(&keep, LIMITS)] {
        assert_eq!(keep.last_good(&first).as_deref(), Some(&b"second"[..]));
        let linux32 = Meta { what: What::File { is_linux32: true }, ..first.clone() };
        assert_eq!(keep.last_good(&linux32), None);
        let mut same_key = first.clone();
        same_key.owner.as_mut().unwrap().start_time += 1;
        assert_eq!(keep.last_good(&same_key), None, "another container of the same key");
    }
}

#[test]
fn a_write_that_was_cut_off_leaves_what_was_before() {
    let keep = Keep::create().unwrap();
    let meta = open(&keep, Some(1), 1, &[1; 3000]);
    keep.refresh(&meta, &[2; 3000]);
    let held = keep.index().get(meta.fh).unwrap();
    keep.file.write_all_at(&[9; 100], held.slot.offset() + 2000).unwrap();
    assert_eq!(after_crash(&keep), [(meta.fh, vec![1; 3000])]);
    let before = held.slot.turned().offset();
    keep.file.write_all_at(&[9; 100], before + 2000).unwrap();
    assert_eq!(after_crash(&keep), []);
}

#[test]
fn an_empty_file_is_a_new_one_mapped_or_not() {
    for (flags, is_mapped) in [(MemfdFlags::empty(), false), (MemfdFlags::ALLOW_SEALING, true)] {
        let empty = memfd_create("made by somebody else", MemfdFlags::CLOEXEC | flags).unwrap();
        let keep = Keep::adopt(empty).unwrap();
        assert_eq!(keep.mapped.is_some(), is_mapped);
        let meta = open(&keep, HOST, 1, b"content");
        keep.refresh(&meta, &[7; 10_000]);
        let closed = open(&keep, HOST, 2, b"closed");
        keep.close(Fh(closed.fh));
        assert_eq!(after_crash(&keep), [(meta.fh, vec![7; 10_000])]);
        assert_eq!(again(&keep, LIMITS).last_good(&closed).as_deref(), Some(&b"closed"[..]));
    }
}

#[test]
fn who_writes_without_a_mapping_and_who_writes_with_one_understand_each_other() {
    let without = Keep::adopt(memfd_create("older", MemfdFlags::ALLOW_SEALING).unwrap());
    let without = Keep { mapped: None, ..without.unwrap() };
    let one = open(&without, HOST, 1, b"by an older one");
    let with = again(&without, LIMITS);
    assert!(with.mapped.is_some());
    with.refresh(&one, b"refreshed");
    let two = open(&with, HOST, 2, b"by a newer one");
    let without = Keep { mapped: None, ..again(&with, LIMITS) };
    let expected = [(one.fh, b"refreshed".to_vec()), (two.fh, b"by a newer one".to_vec())];
    assert_eq!(found(&without), expected);
}

#[test]
fn files_stay_as_old_as_they_are() {
    let keep = Keep::create().unwrap();
    assert!(keep.born() > Duration::from_secs(1_700_000_000));
    assert_eq!(again(&keep, LIMITS).born(), keep.born());
}

#[test]
fn names_are_found_again_once() {
    let keep = Keep::create().unwrap();
    let node = crate::nodes::sys_number("cpu/cpu0");
    keep.name(node, "cpu/cpu0");
    keep.name(node, "cpu/cpu0");
    let next = again(&keep, LIMITS);
    let other = crate::nodes::sys_number("node/node0");
    next.name(other, "node/node0");
    for keep in [&next, &again(&keep, LIMITS)] {
        assert_eq!(keep.name_of(node).as_deref(), Some("cpu/cpu0"));
        assert_eq!(keep.name_of(other).as_deref(), Some("node/node0"));
        assert_eq!(keep.name_of(NodeId(1)), None);
    }
}

#[test]
fn what_is_not_understood_is_refused() {
    let keep = Keep::create().unwrap();
    keep.file.write_all_at(&9_u32.to_le_bytes(), VERSION_AT).unwrap();
    let error = Keep::adopt(keep.as_fd().try_clone_to_owned().unwrap()).unwrap_err();
    assert!(matches!(error, KeepError::Version { found: 9, known: VERSION }));
    assert!(error.to_string().contains('9') && error.to_string().contains('1'), "{error}");
    for bytes in [&b"rv-"[..], b"\0", b"another file altogether"] {
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(bytes, 0).unwrap();
        assert!(matches!(Keep::adopt(file.into()), Err(KeepError::Foreign)));
    }
}

/// Another form is another [`VERSION`].
#[test]
fn the_form_is_that_of_the_version() {
    let trigger = KeptTrigger { is_full: false, threshold: 5, window: 6, written_by: 8 };
    let what = What::Pressure { is_privileged: true, trigger: Some(trigger), waiter: Some(9) };
    let meta = Meta {
        fh: 1,
        node: 2,
        owner: Some(Owner::made_up(3)),
        opened_by: 4,
        opened_at: 5,
        refreshed_by: 0,
        is_good: true,
        what,
    };
    let bytes = postcard::to_stdvec(&meta).unwrap();
    let owner = [3, 1, 20, 3, 0, 1, 100, 0];
    let expected = [&[1, 2, 1][..], &owner, &[4, 5, 0, 1, 2, 1, 1, 0, 5, 6, 8, 1, 9]].concat();
    assert_eq!((VERSION, bytes), (1, expected));
    let listed = Listed { node: NodeId(7), kind: fuse::FileType::Regular, name: "ab".into() };
    assert_eq!(listing_to_bytes(&[listed]), [1, 7, 1, 2, b'a', b'b']);
}

#[test]
fn who_has_no_init_and_many_cgroups_is_written_down_as_well() {
    let keep = Keep::create().unwrap();
    let mut owner = Owner::made_up(1);
    owner.cgroups = vec![vec![b'c'; 100]; 12];
    let meta = Meta { owner: Some(owner), ..meta(&keep, HOST, 1) };
    keep.open(&meta, b"content");
    let adopted = again(&keep, LIMITS).adopted(|_| true);
    assert_eq!(adopted, [Adopted { meta, content: b"content".to_vec() }]);
}

/// A memory file with whatever in it, but for its header, so that it is looked at.
fn with_bytes(parts: &[(u64, Vec<u8>)]) -> Keep {
    let keep = Keep::create().unwrap();
    for (at, bytes) in parts {
        keep.file.write_all_at(bytes, *at).unwrap();
    }
    again(&keep, LIMITS)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_bytes_are_survived(
        parts in prop::collection::vec(
            (0..12_u64, 0..3_u64, prop::collection::vec(any::<u8>(), 0..300), any::<bool>()),
            0..6,
        ),
    ) {
        let place = |(region, page, mut bytes, begins): (u64, u64, Vec<u8>, bool)| {
            if begins && bytes.len() > 40 {
                bytes[..8].copy_from_slice(b"rv-open\0");
            }
            (region * MOST_BYTES + page * 4096 + if region == 0 { 16 } else { 0 }, bytes)
        };
        let keep = with_bytes(&parts.into_iter().map(place).collect::<Vec<_>>());
        prop_assert_eq!(found(&keep), []);
        let meta = open(&keep, Some(1), 1, b"goes on");
        prop_assert_eq!(after_crash(&keep), [(meta.fh, b"goes on".to_vec())]);
    }

    #[test]
    fn damage_never_makes_another_record(
        contents in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..6000), 1..6),
        damage in prop::collection::vec((0..2_u64, 0..50_000_u64, 1..=255_u8), 1..8),
    ) {
        let keep = Keep::create().unwrap();
        let mut written = Vec::new();
        for content in &contents {
            let meta = open(&keep, Some(1), 1, content);
            written.push((meta.fh, content.clone()));
            let refreshed = [&content[..], b"2"].concat();
            keep.refresh(&meta, &refreshed);
            written.push((meta.fh, refreshed));
        }
        for (region, at, bits) in damage {
            let at = (region + 1) * MOST_BYTES + at;
            let mut byte = [0];
            if keep.file.read_at(&mut byte, at).unwrap() == 1 {
                keep.file.write_all_at(&[byte[0] ^ bits], at).unwrap();
            }
        }
        for one in after_crash(&keep) {
            prop_assert!(written.contains(&one));
        }
    }

    #[test]
    fn any_history_leaves_what_is_open(
        steps in prop::collection::vec((0..4_u8, 0..8_usize, 0..9000_usize), 1..60),
    ) {
        let mut keep = Keep::create_with(Limits { all: 40 * 8192, each: 40 * 8192 }).unwrap();
        let limits = keep.limits;
        let mut expected: Vec<(Meta, Vec<u8>)> = Vec::new();
        for (step, which, length) in steps {
            let content = vec![u8::try_from(which).unwrap(); length];
            match step {
                0 if expected.len() < 8 => {
                    expected.push((open(&keep, Some(1), which as u64, &content), content));
                }
                1 if !expected.is_empty() => {
                    let which = which % expected.len();
                    keep.refresh(&expected[which].0, &content);
                    expected[which].1 = content;
                }
                2 if !expected.is_empty() => {
                    let (meta, _) = expected.remove(which % expected.len());
                    keep.close(Fh(meta.fh));
                }
                3 => keep = again(&keep, limits),
                _ => {}
            }
            let mut open: Vec<_> =
                expected.iter().map(|(meta, content)| (meta.fh, content.clone())).collect();
            open.sort();
            prop_assert_eq!(found(&again(&keep, limits)), open);
        }
    }
}
