"""For people who test their software inside machines that are thrown away: a pytest plugin."""
