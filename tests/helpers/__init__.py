"""What several tests share: tiny models, exact cases, scripts run in processes of their own."""
