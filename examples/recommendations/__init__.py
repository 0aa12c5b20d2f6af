"""An app store whose recommendations follow what you look at, and what others do."""
