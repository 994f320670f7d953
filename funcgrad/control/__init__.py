"""Operations whose parameters are programs: calls, custom rules, checkpoints, branches and
loops.
"""
