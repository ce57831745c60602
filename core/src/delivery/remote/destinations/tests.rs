use super::*;

fn destination(name: &str) -> Destination {
    Destination::Domain(name.into())
}

fn destinations() -> Arc<Destinations<u32>> {
    Arc::new(Destinations::new())
}

fn enter(destinations: &Arc<Destinations<u32>>, name: &str) -> Result<Ticket<u32>, Denied> {
    destinations.enter(&destination(name), CONNECTIONS_DEFAULT)
}

fn why_not(place: Result<Place<'_, u32>, NoPlace>) -> PutOff {
    let Err(NoPlace::PutOff(put_off)) = place else { panic!("not put off: {place:?}") };
    put_off
}

fn window(destinations: &Destinations<u32>) -> u32 {
    destinations.known().values().next().unwrap().window
}

async fn succeed(destinations: &Arc<Destinations<u32>>, times: u32) {
    for _ in 0..times {
        let ticket = enter(destinations, "a").unwrap();
        ticket.place().await.unwrap().succeeded();
    }
}

async fn fail(destinations: &Arc<Destinations<u32>>, blame: Blame) {
    let ticket = enter(destinations, "a").unwrap();
    ticket.place().await.unwrap().failed(blame, "4.4.1 gone");
}

#[tokio::test(start_paused = true)]
async fn the_window_grows_by_success_and_halves_by_failure() {
    let destinations = destinations();
    succeed(&destinations, 2).await;
    assert_eq!(window(&destinations), 3);
    succeed(&destinations, 3 + 4 + 5 + 6 + 7).await;
    assert_eq!(window(&destinations), 8);
    fail(&destinations, Blame::Busy).await;
    assert_eq!(window(&destinations), 4);
    succeed(&destinations, 1_000).await;
    assert_eq!(window(&destinations), CONNECTIONS_DEFAULT.get());
}

#[tokio::test(start_paused = true)]
async fn the_window_stays_within_the_connections_that_a_destination_may_have() {
    let (destinations, limit) = (destinations(), |count| NonZeroU32::new(count).unwrap());
    succeed(&destinations, 1_000).await;
    let enter = |connections| destinations.enter(&destination("a"), limit(connections));
    let ticket = enter(3).unwrap();
    assert_eq!(window(&destinations), 3, "from now on");
    for _ in 0..100 {
        ticket.place().await.unwrap().succeeded();
    }
    assert_eq!(window(&destinations), 3);
    let crowd: Vec<_> = (0..8).map(|_| enter(3).unwrap()).collect();
    assert_eq!(enter(3).unwrap_err(), Denied::Crowded);
    drop(crowd);
    let _one = enter(1).unwrap();
    assert_eq!(window(&destinations), 1);
}

#[tokio::test(start_paused = true)]
async fn no_more_than_the_window_have_a_place() {
    let destinations = destinations();
    let tickets: Vec<_> = (0..3).map(|_| enter(&destinations, "a").unwrap()).collect();
    let one = tickets[0].place().await.unwrap();
    let _two = tickets[1].place().await.unwrap();
    let third = tickets[2].place();
    tokio::pin!(third);
    assert!(tokio::time::timeout(Duration::from_secs(3600), &mut third).await.is_err());
    drop(one);
    assert!(tokio::time::timeout(Duration::from_secs(1), third).await.unwrap().is_ok());
    // Another destination has places of its own.
    assert!(enter(&destinations, "b").unwrap().place().await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_dead_destination_is_put_off_for_all_its_mails_and_one_finds_out_when_it_is_back() {
    let destinations = destinations();
    let tickets: Vec<_> = (0..3).map(|_| enter(&destinations, "a").unwrap()).collect();
    tickets[0].place().await.unwrap().failed(Blame::Unreachable, "4.4.1 gone");
    assert_eq!(why_not(tickets[1].place().await).reason, "4.4.1 gone");
    assert!(matches!(enter(&destinations, "a"), Err(Denied::PutOff(_))));
    assert_eq!(destinations.count(), (1, 1));
    tokio::time::advance(Duration::from_secs(31)).await;
    let probe = tickets[1].place().await.unwrap();
    let other = tickets[2].place();
    tokio::pin!(other);
    assert!(
        tokio::time::timeout(Duration::from_secs(1), &mut other).await.is_err(),
        "it waits for the first"
    );
    probe.failed(Blame::Unreachable, "4.4.1 still gone");
    let put_off = why_not(other.await);
    assert_eq!(put_off.until, Instant::now() + Duration::from_secs(60), "twice as long");
    tokio::time::advance(Duration::from_secs(61)).await;
    succeed(&destinations, 2).await;
    assert_eq!((destinations.count(), window(&destinations)), ((1, 0), 2));
}

#[tokio::test(start_paused = true)]
async fn a_mail_that_is_put_off_is_told_for_how_long_and_an_operator_need_not_wait() {
    let destinations = destinations();
    fail(&destinations, Blame::Unreachable).await;
    tokio::time::advance(Duration::from_secs(10)).await;
    let Err(Denied::PutOff(put_off)) = enter(&destinations, "a") else { panic!("let in") };
    let reason = "4.4.1 gone (put off with all mail to a)".to_owned();
    let pause = Duration::from_secs(20);
    assert_eq!(put_off.setback(&destination("a")), Setback::LeftAlone { reason, pause, failures: 1 });
    destinations.try_again();
    fail(&destinations, Blame::Unreachable).await;
    let Err(Denied::PutOff(put_off)) = enter(&destinations, "a") else { panic!("let in") };
    assert!(matches!(put_off.setback(&destination("a")), Setback::LeftAlone { failures: 2, .. }));
}

#[tokio::test(start_paused = true)]
async fn a_busy_destination_is_put_off_once_it_can_do_with_no_less() {
    let destinations = destinations();
    fail(&destinations, Blame::Busy).await;
    assert_eq!((destinations.count(), window(&destinations)), ((1, 0), 1));
    fail(&destinations, Blame::Busy).await;
    assert_eq!(destinations.count(), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_crowd_for_one_destination_leaves_room_for_others() {
    let destinations = destinations();
    let tickets: Vec<_> = (0..ENTERED_A_PLACE * CONNECTIONS_DEFAULT.get())
        .map(|_| enter(&destinations, "a").unwrap())
        .collect();
    assert_eq!(enter(&destinations, "a").unwrap_err(), Denied::Crowded);
    assert!(enter(&destinations, "b").is_ok());
    drop(tickets);
    assert!(enter(&destinations, "a").is_ok());
}

#[tokio::test(start_paused = true)]
async fn at_a_stop_nobody_waits_for_a_place_any_more() {
    let destinations = destinations();
    let tickets: Vec<_> = (0..3).map(|_| enter(&destinations, "a").unwrap()).collect();
    let _busy = (tickets[0].place().await.unwrap(), tickets[1].place().await.unwrap());
    let third = tickets[2].place();
    tokio::pin!(third);
    assert!(tokio::time::timeout(Duration::from_secs(3600), &mut third).await.is_err());
    destinations.close();
    assert!(matches!(third.await, Err(NoPlace::Closed)));
    assert!(matches!(enter(&destinations, "b").unwrap().place().await, Err(NoPlace::Closed)));
}

#[tokio::test(start_paused = true)]
async fn a_connection_is_kept_for_the_next_mail_and_not_for_long() {
    let destinations = destinations();
    let ticket = enter(&destinations, "a").unwrap();
    let place = ticket.place().await.unwrap();
    for number in 0..4 {
        assert_eq!(place.keep(number), None);
    }
    assert_eq!(place.keep(4), Some(4));
    assert_eq!(place.kept(), Some(3), "the warmest first");
    assert!(destinations.sweep().is_empty());
    tokio::time::advance(KEPT_TIME).await;
    assert_eq!(destinations.sweep(), [0, 1, 2]);
    drop(place);
    drop(ticket);
    tokio::time::advance(REMEMBERED_TIME).await;
    destinations.sweep();
    assert_eq!(destinations.count(), (0, 0));
}
