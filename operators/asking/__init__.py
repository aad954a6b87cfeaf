"""Language models that are asked: what is asked, who answers (vLLM or a server), and what a reply says."""
