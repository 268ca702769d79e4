def nearest_recipes(params,tokens,*,count): return []
