//! Which of two versions is the newer one.

use std::cmp::Ordering;

/// Compares as dpkg does: runs of digits as numbers; of the rest, `~` is before the end, the end
/// before letters, and letters before everything else.
pub(crate) fn compare(left: &str, right: &str) -> Ordering {
    let (mut left, mut right) = (left.as_bytes(), right.as_bytes());
    while !(left.is_empty() && right.is_empty()) {
        let letters = split(&mut left, false).iter().map(|byte| rank(*byte));
        let others = split(&mut right, false).iter().map(|byte| rank(*byte));
        // What is shorter goes on with its end.
        let order = letters.chain([END]).cmp(others.chain([END]));
        let order = order.then_with(|| numbers(split(&mut left, true), split(&mut right, true)));
        if order != Ordering::Equal {
            return order;
        }
    }
    Ordering::Equal
}

/// The rank of the end of letters.
const END: u16 = 1;

fn rank(byte: u8) -> u16 {
    match byte {
        b'~' => 0,
        letter if letter.is_ascii_alphabetic() => END + u16::from(letter),
        other => 0x200 + u16::from(other),
    }
}

/// Takes the digits, or what are none, from the beginning.
fn split<'a>(text: &mut &'a [u8], digits: bool) -> &'a [u8] {
    let end = text.iter().position(|byte| byte.is_ascii_digit() != digits);
    let (run, rest) = text.split_at(end.unwrap_or(text.len()));
    *text = rest;
    run
}

/// Of any length.
fn numbers(left: &[u8], right: &[u8]) -> Ordering {
    let bare = |digits: &[u8]| {
        let zeros = digits.iter().take_while(|byte| **byte == b'0').count();
        digits.get(zeros..).unwrap_or_default().to_vec()
    };
    let (left, right) = (bare(left), bare(right));
    left.len().cmp(&right.len()).then_with(|| left.cmp(&right))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn versions_are_in_the_order_of_packages() {
        let rising =
            ["", "0.1.0~rc1", "0.1.0", "0.1.0a", "0.1.0+b", "0.1.1", "0.2.0", "0.10.0", "1.0"];
        for (index, one) in rising.iter().enumerate() {
            assert_eq!(compare(one, one), Ordering::Equal);
            for later in &rising[index + 1..] {
                assert_eq!(compare(one, later), Ordering::Less, "{one} {later}");
                assert_eq!(compare(later, one), Ordering::Greater, "{later} {one}");
            }
        }
        assert_eq!(compare("1.007", "1.7"), Ordering::Equal);
    }

    proptest! {
        #[test]
        fn any_three_texts_have_an_order(a in "[0-9a-b.~+]{0,8}", b in "[0-9a-b.~+]{0,8}", c in "\\PC{0,8}") {
            prop_assert_eq!(compare(&a, &b), compare(&b, &a).reverse());
            if compare(&a, &b).is_le() && compare(&b, &c).is_le() {
                prop_assert!(compare(&a, &c).is_le());
            }
        }
    }
}
