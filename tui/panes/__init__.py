"""What each pane shows: pure functions from the view to lines of text."""
