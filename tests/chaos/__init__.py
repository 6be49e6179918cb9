"""Real processes, ended and cut off at random while consumers call; the promises are then checked."""
