"""What models of a study say: importance of knobs, transfer between tasks, the worth of more compute."""
