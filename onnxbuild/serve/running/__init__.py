"""The processes of the models: started, fed, watched, replaced."""
