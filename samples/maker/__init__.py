"""Makes documents with their truth: invented shops, firms and people, many layouts, languages and conditions."""
