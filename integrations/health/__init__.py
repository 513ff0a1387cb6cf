"""How the connections of a workspace do, and who hears of it.

tally, trouble, coming    the numbers, what fails now, what will
renewals, provider_table  the last 24 hours, summed up from the audit trail
notice_list, unseen       notices on the page, and what a member has not seen yet
digests                   which notices make one e-mail, and when. Pure
gathering, mailing        the outbox: put into it, and sent from it
mail_text                 a digest in words
preferences               who is mailed what
retention                 notices whose time is over
"""
