"""Requests for collections of several shards: asked of each, and answered as one."""
