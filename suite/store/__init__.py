"""What is kept on disk: records, run folders and downloaded files, each written whole or not at all."""
