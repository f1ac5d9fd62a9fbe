"""What a study's models say to a person: importance of knobs, transfer between tasks, worth of more compute."""
