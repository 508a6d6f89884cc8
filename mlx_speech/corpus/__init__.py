"""Folders of recordings: reading, checking, caching, bucketing."""
