"""What a run is taught and asked: a corpus of questions with true answers, in two scopes and three splits.

sources.py loads it (demo, hub, files through table_files.py), corpus.py says what an example is, findings.py what is worth
knowing of it before a run; facts.py, refusals.py and wrong_answers.py read and make answers, widened_questions.py further
questions. May use config and what lies below it. No model is needed here. Begin with corpus.py.
"""
