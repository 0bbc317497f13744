"""Never pay twice: each billed call is recorded before and after it is sent."""
