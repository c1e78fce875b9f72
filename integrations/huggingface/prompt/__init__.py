"""From ids and grids to a `TokenLayout`, and where its tokens stand in a padded batch."""
