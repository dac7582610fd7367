use std::time::Instant;

use super::queues::Class;
use super::*;
use crate::mapping::PARKED;

fn parking(burst: u32, per_second: Option<u32>) -> Parking {
    let burst = NonZeroU32::new(burst).unwrap();
    Parking::new(Fairness { burst, per_second: per_second.and_then(NonZeroU32::new) })
}

/// Each of a thread of its own.
fn asks(class: u64, unique: u64) -> Asks {
    let thread = u32::try_from(unique & u64::from(u32::MAX)).unwrap();
    Asks { class, thread, unique }
}

fn arrive(parking: &Parking, class: u64, unique: u64) -> Arrival {
    parking.arrive(asks(class, unique), || false, |_| {}, || false)
}

/// Takes out everything; the numbers, in order.
fn drain(parking: &Parking) -> Vec<u64> {
    let mut order = Vec::new();
    loop {
        let uniques: Vec<u64> = parking.lock().places.iter().map(|place| place.unique).collect();
        match parking.next(true) {
            Next::Parked(ticket) => {
                order.push(uniques[ticket.place]);
                parking.free(ticket.place);
            }
            Next::Wait(_) => return order,
        }
    }
}

#[test]
fn what_is_parked_is_taken_in_turns() {
    let parking = parking(1, None);
    for (class, unique) in [(1, 2), (2, 4)] {
        assert_eq!(arrive(&parking, class, unique), Arrival::Now);
    }
    for (class, unique) in [(1, 6), (1, 8), (1, 10), (2, 12), (3, 14), (2, 16)] {
        let arrival = if class == 3 { Arrival::Now } else { Arrival::Parked };
        assert_eq!(arrive(&parking, class, unique), arrival);
    }
    assert_eq!(drain(&parking), [6, 12, 8, 16, 10]);
    assert_eq!(arrive(&parking, 1, 18), Arrival::Now, "a new period");
    assert_eq!(parking.lock().free.len(), PARKED);
}

#[test]
fn who_gave_up_is_not_answered_in_turn() {
    let parking = parking(1, None);
    arrive(&parking, 1, 2);
    for unique in [4, 6 | UNIQUE_RESEND, 8] {
        assert_eq!(arrive(&parking, 1, unique), Arrival::Parked);
    }
    let mut emptied = Vec::new();
    assert_eq!(parking.interrupt(6, |place| emptied.push(place)), Some(6 | UNIQUE_RESEND));
    assert_eq!(parking.interrupt(6, |place| emptied.push(place)), None);
    assert_eq!(parking.interrupt(4, |place| emptied.push(place)), Some(4));
    assert_eq!(emptied, [1, 0]);
    assert_eq!(drain(&parking), [8]);
    // Interrupted between being read and being parked.
    arrive(&parking, 2, 10);
    let stored = |_| panic!("not to be parked");
    assert_eq!(parking.arrive(asks(2, 12), || false, stored, || true), Arrival::Interrupted);
    assert!(parking.is_empty());
    assert_eq!(parking.lock().free.len(), PARKED);
}

#[test]
fn strangers_pass_until_they_are_many() {
    let busy = parking(2, None);
    let passed = |parking: &Parking| [(); 3].map(|()| parking.lets_stranger_pass(|| false));
    assert_eq!(passed(&busy), [true, true, false]);
    assert_eq!(busy.next(false), Next::Wait(None));
    assert_eq!(passed(&busy), [true, true, false], "a new period");
    assert_eq!(passed(&parking(2, Some(1))), [false; 3], "a rate holds for them as well");
    let idle = [(); 9].map(|()| busy.lets_stranger_pass(|| true));
    assert_eq!(idle, [true; 9], "there is nobody to wait for");
}

#[test]
fn one_thread_alone_does_not_wait_and_many_do_unless_the_device_is_empty() {
    let parking = parking(2, None);
    let arrive = |thread, is_idle| {
        let asks = Asks { class: 7, thread, unique: 2 };
        parking.arrive(asks, || is_idle, |_| {}, || false)
    };
    assert_eq!([(); 99].map(|()| arrive(20, false)), [Arrival::Now; 99]);
    assert_eq!(arrive(21, false), Arrival::Now);
    assert_eq!([20, 21, 22].map(|thread| arrive(thread, true)), [Arrival::Now; 3]);
    assert_eq!([20, 21].map(|thread| arrive(thread, false)), [Arrival::Now, Arrival::Parked]);
    assert_eq!(arrive(20, true), Arrival::Parked, "something is parked: the period goes on");
}

#[test]
fn all_given_up_leaves_nothing_behind() {
    let parking = parking(1, None);
    for unique in 1..=5 {
        arrive(&parking, 7, unique);
    }
    for unique in 2..=5 {
        assert!(parking.interrupt(unique, |_| {}).is_some());
    }
    assert_eq!(parking.next(false), Next::Wait(None));
    // The class stands in line with places that nobody waits for; they go with the next turn.
    assert_eq!(arrive(&parking, 7, 6), Arrival::Parked);
    assert_eq!(drain(&parking), [6]);
    assert_eq!(parking.lock().free.len(), PARKED);
}

#[test]
fn without_a_place_requests_are_answered_as_they_come() {
    let parking = parking(1, None);
    arrive(&parking, 1, 1);
    for unique in 0..PARKED as u64 {
        assert_eq!(arrive(&parking, 1, 2 + unique), Arrival::Parked);
    }
    assert_eq!(arrive(&parking, 1, 9999), Arrival::Now);
    assert_eq!(drain(&parking).len(), PARKED);
}

#[test]
fn a_rate_holds_back_its_own_class_only() {
    let parking = parking(1000, Some(1));
    assert_eq!(arrive(&parking, 1, 1), Arrival::Now);
    let hour = Duration::from_secs(3600);
    parking.lock().classes.get_mut(&1).unwrap().due = Some(Instant::now() + hour);
    assert_eq!(arrive(&parking, 1, 3), Arrival::Parked);
    assert_eq!(arrive(&parking, 2, 4), Arrival::Now);
    let Next::Wait(Some(wait)) = parking.next(false) else { panic!("no wait") };
    assert!(wait <= hour, "{wait:?}");
    assert_eq!(drain(&parking), [3], "stopping, all are answered");
}

#[test]
fn one_second_of_a_rate_is_saved_up() {
    let (mut class, rate) = (Class::default(), NonZeroU32::new(4).unwrap());
    let (now, quarter) = (Instant::now(), Duration::from_millis(250));
    for _ in 0..4 {
        assert_eq!(class.spend_at(now, rate), Ok(()));
    }
    assert_eq!(class.spend_at(now, rate), Err(quarter));
    assert_eq!(class.spend_at(now + quarter, rate), Ok(()));
    assert_eq!(class.spend_at(now + quarter, rate), Err(quarter));
    for _ in 0..4 {
        assert_eq!(class.spend_at(now + quarter * 40, rate), Ok(()));
    }
    assert_eq!(class.spend_at(now + quarter * 40, rate), Err(quarter));
}

#[test]
fn the_old_ones_are_known() {
    let parking = parking(1, None);
    parking.restore(1, 2, 1);
    arrive(&parking, 1, 4);
    let Next::Parked(old) = parking.next(false) else { panic!("nothing there") };
    assert_eq!(old, Ticket { place: 1, old: true });
}
