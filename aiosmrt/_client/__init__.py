"""What users hold: sessions, streams, handles, many calls."""
