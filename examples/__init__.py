"""Programs that show what the server is for. Each starts by itself; README names them."""
