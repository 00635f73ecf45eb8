"""What several tests share: doubles of the world, and the ways to reach them."""
