"""The Streamlit dashboard: pages that look at runs. It never loads a model; workers and the answerer do."""
