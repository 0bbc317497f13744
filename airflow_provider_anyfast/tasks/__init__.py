"""What operators and sensors do on a worker. Nothing here needs to be imported while a DAG file is parsed."""
