use super::*;

fn load(text: &str) -> Synthetic {
    text.parse().unwrap()
}

/// Requests a second between two times.
fn rate(requests: &[Request], from_s: i64, to_s: i64) -> f64 {
    let span = from_s * 1000..to_s * 1000;
    let n = requests.iter().filter(|r| span.contains(&r.at.as_millis())).count();
    n as f64 / (to_s - from_s) as f64
}

#[test]
fn the_same_seed_draws_the_same_requests() {
    let draw = |text: &str| load(text).requests().take(1000).collect::<Vec<_>>();
    assert_eq!(draw("poisson:seed=3"), draw("poisson:seed=3"));
    assert_ne!(draw("poisson:seed=3"), draw("poisson:seed=4"));
    let lengths = |text: &str| draw(text).iter().map(|r| r.osl).collect::<Vec<_>>();
    let spread = "poisson:osl-cv=1";
    assert_eq!(lengths(spread), lengths("poisson:osl-cv=1,isl-cv=2,cv=3"), "one stream each");
}

#[test]
fn rates_lengths_and_spreads_are_as_asked() {
    let all: Vec<Request> =
        load("gamma:rps=50,cv=2,isl=3000,isl-cv=1.5,osl=150,for=1h").requests().collect();
    assert!((rate(&all, 0, 3600) / 50.0 - 1.0).abs() < 0.03, "{}", rate(&all, 0, 3600));
    assert!(all.is_sorted_by_key(|r| r.at) && all.iter().all(|r| r.osl == 150));
    let n = all.len() as f64;
    let mean = all.iter().map(|r| f64::from(r.isl)).sum::<f64>() / n;
    let variance = all.iter().map(|r| (f64::from(r.isl) - mean).powi(2)).sum::<f64>() / n;
    assert!((mean / 3000.0 - 1.0).abs() < 0.03, "{mean}");
    assert!((variance.sqrt() / mean / 1.5 - 1.0).abs() < 0.1, "{}", variance.sqrt() / mean);
    let gaps: Vec<f64> =
        all.windows(2).map(|w| (w[1].at.as_millis() - w[0].at.as_millis()) as f64).collect();
    let mean = gaps.iter().sum::<f64>() / n;
    let variance = gaps.iter().map(|g| (g - mean).powi(2)).sum::<f64>() / n;
    assert!((variance.sqrt() / mean / 2.0 - 1.0).abs() < 0.1, "{}", variance.sqrt() / mean);
}

#[test]
fn each_shape_goes_as_it_says() {
    let of = |text: &str| load(text).requests().collect::<Vec<_>>();
    let near = |got: f64, want: f64| assert!((got - want).abs() < 0.1 * want + 0.5, "{got} {want}");
    let flash = of("flash:rps=10,at=20m,times=10,lasting=5m");
    near(rate(&flash, 0, 1200), 10.0);
    near(rate(&flash, 1200, 1500), 100.0);
    near(rate(&flash, 1500, 3600), 10.0);
    let square = of("square:rps=10,on=10m,off=5m,low=0.2");
    near(rate(&square, 0, 600), 10.0);
    near(rate(&square, 600, 900), 2.0);
    near(rate(&square, 900, 1500), 10.0);
    let silence = of("silence:rps=10,at=10m,lasting=10m,times=4");
    assert_eq!(rate(&silence, 600, 1200), 0.0);
    near(rate(&silence, 1200, 1260), 40.0);
    let ramp = of("ramp:rps=10,times=3");
    near(rate(&ramp, 0, 360), 11.0);
    near(rate(&ramp, 3240, 3600), 29.0);
    let diurnal = of("diurnal:rps=20,amplitude=0.9,period=1h");
    near(rate(&diurnal, 840, 960), 38.0);
    near(rate(&diurnal, 2640, 2760), 2.0);
    near(rate(&of("step:rps=10,at=30m,times=0.5"), 1800, 3600), 5.0);
}

#[test]
fn bursts_are_as_large_where_the_rate_is_a_tenth_of_its_peak() {
    let all: Vec<Request> =
        load("flash:rps=20,at=50m,times=10,lasting=5m,cv=3").requests().collect();
    let calm: Vec<i64> =
        all.iter().map(|r| r.at.as_millis()).take_while(|at| *at < 50 * 60_000).collect();
    let gaps: Vec<f64> = calm.windows(2).map(|w| (w[1] - w[0]) as f64).collect();
    let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
    let variance = gaps.iter().map(|g| (g - mean).powi(2)).sum::<f64>() / gaps.len() as f64;
    let cv = variance.sqrt() / mean;
    assert!((cv / 3.0 - 1.0).abs() < 0.1, "{cv}");
    assert!((mean / 50.0 - 1.0).abs() < 0.1, "{mean}");
}

#[test]
fn every_shape_of_the_help_can_be_written() {
    for (name, about) in Shape::HELP {
        let keys = about.split_once(": ").map_or("", |(_, keys)| keys);
        let text = format!("{name}:{keys}");
        assert!(Synthetic::is_named_by(&text));
        assert!(load(&text).requests().next().is_some(), "{text}");
    }
    assert!(!Synthetic::is_named_by("trace.csv.gz"));
}

#[test]
fn what_is_wrong_is_said_with_its_key() {
    let error = |text: &str| text.parse::<Synthetic>().unwrap_err().to_string();
    assert!(error("wave:rps=1").contains("poisson, gamma, diurnal"), "{}", error("wave:rps=1"));
    assert!(error("step:rsp=1").contains(r#"no key "rsp""#), "{}", error("step:rsp=1"));
    assert!(error("step:at=5").contains("key at: expected a duration"), "{}", error("step:at=5"));
    assert!(error("poisson:rps=-1").contains("key rps: expected a number"));
    assert!(error("poisson:rps=nan").contains("key rps"));
    assert!(error("poisson:for=0s").contains("key for"));
}
