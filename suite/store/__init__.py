"""What is kept: records, run folders and fetched files, each written whole or not at all."""
